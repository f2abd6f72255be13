import { readFileSync } from "node:fs"
import { hasParameter } from "../../base/linux/commandLine.ts"
import { netmaskOf, parseAddress } from "../../base/terms/address.ts"
import { listed, shownText } from "../../base/terms/printable.ts"

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

/** The name servers that a guest gets, and why there is none. */
export interface NameServers {
  readonly servers: readonly string[]
  readonly why: string | undefined
}

/**
 * The host's name servers that a guest can reach too: IPv4, not this host itself, at most two. `read`: a file's text, undefined where
 * there is none. Pure.
 */
export function findNameServers(read: (path: string) => string | undefined): NameServers {
  const seen: string[] = []
  for (const path of RESOLVERS) {
    const text = read(path)
    if (text === undefined) continue
    const servers = nameServers(text)
    if (servers.length > 0) return { servers, why: undefined }
    seen.push(`${path} names ${listed(namedIn(text).map(whyUseless)) || "none"}`)
  }
  const why = seen.length === 0 ? `there is no ${RESOLVERS[0]}` : seen.join(", ")
  return { servers: [], why }
}

/** As `findNameServers`, of this host. */
export function hostNameServers(): NameServers {
  return findNameServers((path) => {
    try {
      return readFileSync(path, "utf8")
    } catch {
      // Missing or unreadable: then the guest gets no name server by it.
      return undefined
    }
  })
}

/** What there is to do for a guest without a name server. */
export const NAME_SERVER_HINT =
  'network: { dns: ["9.9.9.9"] } names one that guests can reach, or dns: [] says that there is to be none'

/** The name servers in the text of a resolv.conf that others than this host can reach. Pure. */
export function nameServers(text: string): readonly string[] {
  return [...new Set(namedIn(text).filter((address) => parseAddress(address) !== undefined && !isHere(address)))].slice(
    0,
    2,
  )
}

// --- internal ---

/**
 * resolv.conf(5); what systemd-resolved, NetworkManager, dnsmasq and resolvconf keep beside it of the servers that they ask, where it
 * names themselves.
 */
const RESOLVERS = [
  "/etc/resolv.conf",
  "/run/systemd/resolve/resolv.conf",
  "/run/NetworkManager/no-stub-resolv.conf",
  "/run/dnsmasq/resolv.conf",
  "/run/resolvconf/resolv.conf",
] as const

function namedIn(text: string): readonly string[] {
  return [...text.matchAll(/^[ \t]*nameserver[ \t]+(\S+)/gm)].map(([, address = ""]) => address)
}

/** Whether an address is this host's own in any network: 127.0.0.53 of systemd-resolved, 0.0.0.0. */
function isHere(address: string): boolean {
  return /^(?:127|0)\./.test(address)
}

function whyUseless(address: string): string {
  const shown = shownText(address)
  if (isHere(address) || address === "::1" || address === "::") return `${shown} (this host alone)`
  if (address.includes("%")) return `${shown} (of one link)`
  return address.includes(":") ? `${shown} (IPv6, which ip= cannot name)` : `${shown} (no address)`
}
