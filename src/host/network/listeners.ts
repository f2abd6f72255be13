import { readdirSync, readFileSync, readlinkSync } from "node:fs"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { formatAddress } from "../../base/terms/address.ts"
import { clash, formatPort, type Port } from "../../base/terms/ports.ts"

/** A socket of this host that has a port. */
export interface Listener {
  readonly protocol: "tcp" | "udp"
  /** Undefined: any. */
  readonly address: string | undefined
  readonly host: number
  readonly inode: string
}

/** Who has a port of this host already, in words: the process whose socket would lose it; undefined: nobody. */
export function portHolder(port: Port): string | undefined {
  const found = listeners(port.protocol).find((listener) => clash(port, listener))
  return found && holderOf(found.inode)
}

/**
 * What a network's settings name and this host does not have: addresses of ports that are none of its own, and name servers at
 * its own addresses where nothing answers. Both may come up later. `own`: the host's addresses; `answers`: whether somebody has
 * UDP port 53 at one. Pure.
 */
export function missingHere(
  { ports, dns = [] }: { readonly ports: readonly Port[]; readonly dns?: readonly string[] | undefined },
  { own, answers }: { readonly own: readonly string[]; readonly answers: (address: string) => boolean },
): readonly string[] {
  const foreign = ports.flatMap((port) =>
    port.address === undefined || port.address.startsWith("127.") || own.includes(port.address)
      ? []
      : [
          `the port ${formatPort(port)} is of ${port.address}, which is no address of this host: nobody reaches it until it is`,
        ],
  )
  const silent = dns.filter((server) => own.includes(server) && !answers(server))
  return [
    ...foreign,
    ...silent.map((server) => `the name server ${server} is this host, where nothing answers at port 53/udp`),
  ]
}

/**
 * The host's ports that a table's rules forward, as nft prints the rules of `planRules`. The rules of other programs do not
 * matter: whoever forwards a port usually listens on it too. Pure.
 */
export function parseForwards(rules: string): readonly Omit<Listener, "inode">[] {
  const lines = rules.matchAll(/(?:ip daddr ([\d.]+)|fib daddr type local) (tcp|udp) dport (\d+) dnat /g)
  return [...lines].map(([, address, protocol, host]) => ({
    protocol: protocol === "udp" ? "udp" : "tcp",
    address,
    host: Number(host),
  }))
}

/** The listening sockets in a text of /proc/net/tcp or udp: state 0A (LISTEN) of TCP, 07 (unconnected) of UDP. Pure. */
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

/** An address in this machine's byte order; "IPv6" for one that is neither "any" nor maps an IPv4 address. */
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
      // It has ended, or is not ours to see: this is only for a message.
    }
  }
  return "another process"
}
