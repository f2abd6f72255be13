import { deflateRawSync } from "node:zlib"

/** Of the images that `qcow2Of` makes. */
export const CLUSTER_BYTES = 4096
const BITS = 12

/** A cluster of a disk: full of one letter, as it is or packed; said to be zero, or not there. */
export type Made = { readonly data: string } | { readonly packed: string } | "zero" | "none"

/** What a test changes of an image: fields of its header by offset, and of its L2 table by index. */
export interface Changes {
  readonly version?: 2 | 3
  readonly u32?: Readonly<Record<number, number>>
  readonly u64?: Readonly<Record<number, bigint>>
  readonly l2?: Readonly<Record<number, bigint>>
  readonly zstd?: boolean
  readonly bytes?: number
}

/** A qcow2 image of a disk with these clusters: a header, an L1 table, an L2 table, and the clusters' data. */
export function qcow2Of(clusters: readonly Made[], changes: Changes = {}): Uint8Array {
  const { version = 3, zstd = false } = changes
  const parts: Uint8Array[] = []
  let end = 3 * CLUSTER_BYTES
  const put = (bytes: Uint8Array) => {
    const at = end
    parts.push(bytes)
    end += bytes.length
    return at
  }
  const align = () => put(new Uint8Array((CLUSTER_BYTES - (end % CLUSTER_BYTES)) % CLUSTER_BYTES))
  const l2 = new DataView(new ArrayBuffer(CLUSTER_BYTES))
  for (const [index, made] of clusters.entries()) {
    if (made === "none") continue
    if (made === "zero") l2.setBigUint64(8 * index, 1n)
    else if ("data" in made) {
      align()
      l2.setBigUint64(8 * index, (1n << 63n) | BigInt(put(Buffer.alloc(CLUSTER_BYTES, made.data))))
    } else {
      const whole = Buffer.alloc(CLUSTER_BYTES, made.packed)
      const bytes = zstd ? Bun.zstdCompressSync(whole) : deflateRawSync(whole)
      const at = put(bytes)
      const sectors = Math.floor((at + bytes.length - 1) / 512) - Math.floor(at / 512)
      l2.setBigUint64(8 * index, (1n << 62n) | (BigInt(sectors) << BigInt(62 - (BITS - 8))) | BigInt(at))
    }
  }
  for (const [index, entry] of Object.entries(changes.l2 ?? {})) l2.setBigUint64(8 * Number(index), entry)
  const head = new DataView(new ArrayBuffer(CLUSTER_BYTES))
  head.setUint32(0, 0x514649fb)
  head.setUint32(4, version)
  head.setUint32(20, BITS)
  head.setBigUint64(24, BigInt(changes.bytes ?? clusters.length * CLUSTER_BYTES))
  head.setUint32(36, 1)
  head.setBigUint64(40, BigInt(CLUSTER_BYTES))
  if (version === 3) {
    head.setBigUint64(72, zstd ? 8n : 0n)
    head.setUint32(100, 112)
    head.setUint8(104, zstd ? 1 : 0)
  }
  for (const [at, value] of Object.entries(changes.u32 ?? {})) head.setUint32(Number(at), value)
  for (const [at, value] of Object.entries(changes.u64 ?? {})) head.setBigUint64(Number(at), value)
  const l1 = new DataView(new ArrayBuffer(CLUSTER_BYTES))
  l1.setBigUint64(0, (1n << 63n) | BigInt(2 * CLUSTER_BYTES))
  return Buffer.concat([...[head, l1, l2].map(({ buffer }) => new Uint8Array(buffer)), ...parts])
}
