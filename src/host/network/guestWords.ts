import { readFileSync } from "node:fs"
import { hasParameter } from "../../base/linux/commandLine.ts"
import { netmaskOf, parseAddress } from "../../base/terms/address.ts"

/** A guest's own view of its network. */
export interface GuestNetwork {
  readonly name: string
  readonly address: string
  readonly prefix: number
  readonly gateway: string
  /** Address and gateway of IPv6, of a /64. */
  readonly ipv6: { readonly address: string; readonly gateway: string } | undefined
  readonly dns: readonly string[]
}

/**
 * The words of a kernel command line that give a guest its addresses: the kernel's own `ip=` (nfsroot.rst), and
 * `banger.ip6=ADDRESS/64,GATEWAY` for IPv6, where the kernel has no word. A word that the line has already is left out. Pure.
 */
export function guestWords(commandLine: string, guest: GuestNetwork): readonly string[] {
  const { name, address, prefix, gateway, ipv6, dns } = guest
  const has = (key: string) => hasParameter(commandLine, key)
  const servers = dns.length === 0 ? "" : `:${dns.join(":")}`
  return [
    ...(has("ip") ? [] : [`ip=${address}::${gateway}:${netmaskOf(prefix)}:${name}:eth0:off${servers}`]),
    ...(ipv6 === undefined || has("banger.ip6") ? [] : [`banger.ip6=${ipv6.address}/64,${ipv6.gateway}`]),
  ]
}

/** The host's name servers that a guest can reach too: IPv4, not this host itself, at most two. */
export function hostNameServers(): readonly string[] {
  // With systemd-resolved the first file names this host only, and the second the servers that it asks.
  for (const path of ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"]) {
    const servers = nameServers(textOf(path))
    if (servers.length > 0) return servers
  }
  return []
}

/** The name servers in the text of a resolv.conf that others than this host can reach. Pure. */
export function nameServers(text: string): readonly string[] {
  const all = [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].map(([, address = ""]) => address)
  const usable = all.filter((address) => parseAddress(address) !== undefined && !/^(?:127|0)\./.test(address))
  return [...new Set(usable)].slice(0, 2)
}

// --- internal ---

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8")
  } catch {
    // Missing or unreadable: then the guest gets no name server.
    return ""
  }
}
