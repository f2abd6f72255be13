import { Failure } from "../../base/terms/failure.ts"

/** What banger takes of a qcow2 image: its own data, in clusters, behind two levels of tables. */
export interface Qcow2 {
  /** The disk's size. */
  readonly bytes: number
  readonly clusterBits: number
  readonly l1Offset: number
  readonly l1Count: number
  readonly compression: "zlib" | "zstd"
  /** Whether a cluster has 32 parts that are there or not. */
  readonly parts: boolean
  readonly version: number
}

/** How many bytes `parseQcow2` needs, or all there are. */
export const QCOW2_HEADER_BYTES = 112

/**
 * Reads the header of a qcow2 image (QEMU's docs/interop/qcow2.txt). Throws BAD_FILE for one whose data is not all in the file: a
 * backing file or data file is a path of the image's own choice, and whoever made the image would be given what is there. Pure.
 */
export function parseQcow2(header: Uint8Array, path: string): Qcow2 {
  const bad = (words: string, hint?: string) => new Failure("BAD_FILE", `${path} ${words}`, { hint, subject: path })
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength)
  if (header.length < V2_BYTES || view.getUint32(0) !== BEGIN.magic)
    throw bad("is no qcow2 image", "leave `format` out")
  const version = view.getUint32(4)
  if (version !== 2 && version !== 3) throw bad(`is a qcow2 image of version ${version}, not 2 or 3`)
  if (version === 3 && header.length < V3_BYTES) throw bad("is a qcow2 image that ends in its header")
  const u64 = (at: number) => {
    const value = view.getBigUint64(at)
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw bad("is a qcow2 image whose header makes no sense")
    return Number(value)
  }
  const one = `make one file of it: qemu-img convert -O qcow2 IMAGE ONE.qcow2`
  if (u64(8) !== 0) throw bad("has a backing file, and what that leads to is not taken", one)
  if (view.getUint32(32) !== 0) throw bad("is encrypted", "decrypt it: qemu-img convert")
  const features = version === 2 ? 0n : view.getBigUint64(72)
  if ((features & FEATURE.dataFile) !== 0n) throw bad("has its data in another file, and that is not taken", one)
  if ((features & FEATURE.corrupt) !== 0n) throw bad("is marked as corrupt", "mend it: qemu-img check -r all")
  if ((features & ~FEATURE.known) !== 0n) throw bad("needs features of qcow2 that banger does not know", one)
  const clusterBits = view.getUint32(20)
  const parts = (features & FEATURE.parts) !== 0n
  if (clusterBits < (parts ? 14 : 9) || clusterBits > 21) throw bad(`has clusters of 2^${clusterBits} bytes`)
  const size = u64(24)
  if (size === 0) throw bad("is an image of an empty disk")
  if (size > DISK_MAX_BYTES) throw bad("is an image of a disk that is larger than 16T")
  const compressed = version === 3 && (features & FEATURE.compression) !== 0n
  const type = compressed && view.getUint32(100) > 104 && header.length > 104 ? header[104] : 0
  if (type !== 0 && type !== 1) throw bad("is compressed in a way that banger does not know", one)
  const [l1Offset, l1Count] = [u64(40), view.getUint32(36)]
  const covered = 2 ** clusterBits * (2 ** clusterBits / (parts ? 16 : 8))
  if (l1Count * 8 > L1_MAX_BYTES || l1Count * covered < size || l1Offset % 2 ** clusterBits !== 0 || l1Offset === 0)
    throw bad("is a qcow2 image whose tables make no sense", "look at it: qemu-img check")
  return { bytes: size, clusterBits, l1Offset, l1Count, compression: type === 1 ? "zstd" : "zlib", parts, version }
}

/** Where the data of a cluster is. */
export type Cluster =
  | { readonly is: "zero" }
  /** `present`: which of its 32 parts have data; undefined: it is one. */
  | { readonly is: "data"; readonly offset: number; readonly present?: number | undefined }
  | { readonly is: "compressed"; readonly offset: number; readonly length: number }

/** What an entry of a table of the second level says of its cluster. Pure. */
export function clusterOf(
  { clusterBits, parts, version }: Pick<Qcow2, "clusterBits" | "parts" | "version">,
  entry: bigint,
  bitmap = 0n,
): Cluster {
  if ((entry & ENTRY.compressed) !== 0n) {
    const offsetBits = BigInt(62 - (clusterBits - 8))
    const offset = Number(entry & ((1n << offsetBits) - 1n))
    const sectors = Number((entry & (ENTRY.compressed - 1n)) >> offsetBits) + 1
    return { is: "compressed", offset, length: sectors * SECTOR_BYTES - (offset % SECTOR_BYTES) }
  }
  const offset = offsetIn(entry)
  if (offset === 0 || (!parts && version > 2 && (entry & ENTRY.zero) !== 0n)) return { is: "zero" }
  if (!parts) return { is: "data", offset }
  // What is said to be zero has no data, whatever its other bit says.
  return { is: "data", offset, present: Number(bitmap & 0xffff_ffffn & ~(bitmap >> 32n)) }
}

/** The offset that an entry of either table leads to; 0: to nothing. Pure. */
export function offsetIn(entry: bigint): number {
  return Number(entry & ENTRY.offset)
}

// --- internal ---

/** "QFI\xfb". */
const BEGIN = { magic: 0x5146_49fb } as const
const V2_BYTES = 72
const V3_BYTES = 104
const SECTOR_BYTES = 512

/** Disks of guests are not larger. */
const DISK_MAX_BYTES = 16 * 1024 ** 4

/** As QEMU has it. */
const L1_MAX_BYTES = 32 * 1024 * 1024

/** Of the incompatible features. `dirty` is of reference counts, which a reader does without. */
const FEATURE = { dirty: 1n, corrupt: 2n, dataFile: 4n, compression: 8n, parts: 16n, known: 31n } as const

/** Bits of the entries of tables. */
const ENTRY = { compressed: 1n << 62n, zero: 1n, offset: 0x00ff_ffff_ffff_fe00n } as const
