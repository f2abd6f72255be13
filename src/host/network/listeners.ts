import { readdirSync, readFileSync, readlinkSync } from "node:fs"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { formatAddress } from "../../base/terms/address.ts"
import { clash, type Port } from "../../base/terms/ports.ts"

/** A socket of this host that has a port. */
export interface Listener {
  readonly protocol: "tcp" | "udp"
  /** Undefined: any. */
  readonly address: string | undefined
  readonly host: number
  readonly inode: string
}

/** The socket of this host that a port would be taken from, with the process that has it, as words. */
export function portHolder(port: Port): string | undefined {
  const found = listeners(port.protocol).find((listener) => clash(port, listener))
  return found && holderOf(found.inode)
}

/**
 * The host's sides of the ports in a table's rules, as nft prints those of `planRules`. Rules of others are not looked at:
 * who forwards a port mostly listens on it too. Pure.
 */
export function parseForwards(rules: string): readonly Omit<Listener, "inode">[] {
  const lines = rules.matchAll(/(?:ip daddr ([\d.]+)|fib daddr type local) (tcp|udp) dport (\d+) dnat /g)
  return [...lines].map(([, address, protocol, host]) => ({
    protocol: protocol === "udp" ? "udp" : "tcp",
    address,
    host: Number(host),
  }))
}

/** The sockets in the text of /proc/net/tcp or udp that take what comes from others: TCP 0A is LISTEN, UDP 07 unconnected. Pure. */
export function parseListeners(text: string, protocol: "tcp" | "udp"): readonly Listener[] {
  const state = protocol === "tcp" ? "0A" : "07"
  return text.split("\n").flatMap((line) => {
    const fields = line.trim().split(/\s+/)
    const [hex = "", port = ""] = fields[1]?.split(":") ?? []
    if (fields[3] !== state || port === "") return []
    return [{ protocol, address: addressIn(hex), host: Number.parseInt(port, 16), inode: fields[9] ?? "" }]
  })
}

// --- internal ---

function listeners(protocol: "tcp" | "udp"): readonly Listener[] {
  return [protocol, `${protocol}6`].flatMap((name) => {
    const table = unlessAbsent(() => readFileSync(`/proc/net/${name}`, "latin1"))
    // A kernel without IPv6 has no such table.
    return table === undefined ? [] : parseListeners(table, protocol)
  })
}

/** Words of this machine's byte order. One of IPv6 that is not "any" and maps no IPv4 address is out of the way. */
function addressIn(hex: string): string | undefined {
  const last = hex.slice(-8)
  const address = Number.parseInt(last.replace(/(..)(..)(..)(..)/, "$4$3$2$1"), 16)
  if (hex.length === 32 && !/^0+$/.test(hex) && !hex.startsWith("0000000000000000FFFF0000")) return "IPv6"
  return address === 0 ? undefined : formatAddress(address)
}

function holderOf(inode: string): string {
  const link = `socket:[${inode}]`
  for (const pid of readdirSync("/proc")) {
    if (!/^[1-9]\d*$/.test(pid)) continue
    try {
      const has = readdirSync(`/proc/${pid}/fd`).some((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`) === link)
      if (has) return `process ${pid} (${readFileSync(`/proc/${pid}/comm`, "utf8").trim()})`
    } catch {
      // Gone meanwhile, or not for us to see: it is only for the message.
    }
  }
  return "another process"
}
