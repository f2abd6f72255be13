import { isIP } from "node:net"

/** An address, as its 4 or 16 bytes. */
export type Address = Uint8Array

/** An IPv4 or IPv6 address in words; undefined for anything else. Pure. */
export function parseEither(text: string): Address | undefined {
  const kind = isIP(text)
  if (kind === 4) return Uint8Array.from(text.split("."), Number)
  if (kind !== 6) return undefined
  const [, dotted] = /:(\d+\.\d+\.\d+\.\d+)$/.exec(text) ?? []
  const plain = dotted === undefined ? text : `${text.slice(0, -dotted.length)}${hexOf(dotted)}`
  const [left = "", right] = plain.split("::")
  const [head, tail] = [left, right ?? ""].map((part) => part.split(":").filter((word) => word !== ""))
  const between = 8 - (head?.length ?? 0) - (tail?.length ?? 0)
  const words = [...(head ?? []), ...Array.from({ length: between }, () => "0"), ...(tail ?? [])]
  return Uint8Array.from(words.flatMap((word) => [Number.parseInt(word, 16) >>> 8, Number.parseInt(word, 16) & 0xff]))
}

/** Whether two addresses of one family begin with the same bits. Pure. */
export function inPrefix(one: Address, other: Address, bits: number): boolean {
  return one.every((byte, at) => {
    const left = Math.min(8, Math.max(0, bits - at * 8))
    return (byte ^ (other[at] ?? 0)) >>> (8 - left) === 0
  })
}

/** Whether an address stands between two others of its family, or is one of them. Pure. */
export function isBetween(one: Address, first: Address, last: Address): boolean {
  if (one.length !== first.length || one.length !== last.length) return false
  return Buffer.compare(first, one) <= 0 && Buffer.compare(one, last) <= 0
}

// --- internal ---

function hexOf(dotted: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = dotted.split(".").map(Number)
  return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
}
