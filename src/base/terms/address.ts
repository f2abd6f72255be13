/** An IPv4 network: its lowest address as a number, and the bits that all of it have in common. */
export interface Subnet {
  readonly base: number
  readonly prefix: number
}

/** The network card that the plugin's `network` gives a guest; others are added while it runs. */
export const CARD = "eth0"

/** `10.0.0.1` as a number; undefined for anything else, also for leading zeroes, which some programs read as octal. */
export function parseAddress(text: string): number | undefined {
  const parts = /^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/
    .exec(text)
    ?.slice(1)
    .map(Number)
  if (parts === undefined || parts.some((part) => part > 255)) return undefined
  return parts.reduce((sum, part) => sum * 256 + part, 0)
}

/** A number as `10.0.0.1`. */
export function formatAddress(address: number): string {
  return [...bytesOf(address)].join(".")
}

/** The four bytes of an address as they are sent. */
export function bytesOf(address: number): Uint8Array {
  return Uint8Array.of(address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255, address & 255)
}

/** The number of four bytes. */
export function addressOf(bytes: Uint8Array): number {
  return bytes.reduce((sum, byte) => sum * 256 + byte, 0)
}

/** `10.0.0.0/24`; undefined for anything else, also when bits beyond the prefix are set. */
export function parseSubnet(text: string): Subnet | undefined {
  const [, address = "", length = ""] = /^([\d.]+)\/(\d|[12]\d|3[0-2])$/.exec(text) ?? []
  const [base, prefix] = [parseAddress(address), Number(length)]
  if (base === undefined || length === "" || base !== networkOf(base, prefix)) return undefined
  return { base, prefix }
}

/** A subnet as `10.0.0.0/24`. */
export function formatSubnet({ base, prefix }: Subnet): string {
  return `${formatAddress(base)}/${prefix}`
}

/** The lowest address of the network of this length that an address is in. */
export function networkOf(address: number, prefix: number): number {
  return address - (address % sizeOf(prefix))
}

/** `255.255.255.0`. */
export function netmaskOf(prefix: number): string {
  return formatAddress(0x1_0000_0000 - sizeOf(prefix))
}

/** How many addresses a network has. */
export function sizeOf(prefix: number): number {
  return 2 ** (32 - prefix)
}

/** Whether two networks have an address in common: then one is in the other. */
export function overlap(a: Subnet, b: Subnet): boolean {
  const prefix = Math.min(a.prefix, b.prefix)
  return networkOf(a.base, prefix) === networkOf(b.base, prefix)
}

/** The host's own address in a subnet: the first. */
export function gatewayOf({ base }: Subnet): number {
  return base + 1
}

/** Numbers of a subnet's addresses that guests can have: all but the network's, the host's and the broadcast address. */
export function guestNumbers({ prefix }: Subnet): { readonly first: number; readonly last: number } {
  return { first: 2, last: sizeOf(prefix) - 2 }
}

/** An IPv6 /64 as its 8 bytes, with the number of a host in it. */
export function ipv6Bytes(network: Uint8Array, host: number): Uint8Array {
  const bytes = new Uint8Array(16)
  bytes.set(network.subarray(0, 8))
  bytes.set(bytesOf(host), 12)
  return bytes
}

/** Sixteen bytes as RFC 5952 writes them. */
export function formatIpv6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, at) =>
    ((bytes[at * 2] ?? 0) * 256 + (bytes[at * 2 + 1] ?? 0)).toString(16),
  )
  const text = groups.join(":")
  const zeroes = [...text.matchAll(/\b0(?::0)+\b/g)].sort((a, b) => b[0].length - a[0].length)[0]
  if (zeroes === undefined) return text
  const [before, after] = [text.slice(0, zeroes.index), text.slice(zeroes.index + zeroes[0].length)]
  return `${before.replace(/:$/, "")}::${after.replace(/^:/, "")}`
}
