import { readSync, writeSync } from "node:fs"
import { constants, inflateRawSync } from "node:zlib"
import { setLength } from "../../base/linux/content.ts"
import { statDescriptor } from "../../base/linux/files.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { clusterOf, offsetIn, parseQcow2, QCOW2_HEADER_BYTES, type Qcow2 } from "./qcow2.ts"
import { zstdFrameBytes } from "./zstdFrame.ts"

/** How far a conversion is, of so many bytes of the disk. */
export type OnProgress = (done: number, total: number) => void

/** The size of the disk that an open qcow2 image is of. Throws as `parseQcow2`. */
export function qcow2Bytes(fd: number, path: string): number {
  return headerOf(fd, path).bytes
}

/**
 * Fills an empty file with the disk that an open qcow2 image is of: raw, with holes where it is zero. Nothing but the image itself is
 * read, whatever it names. Other work runs meanwhile; an aborted signal ends it by throwing its reason. Throws BAD_FILE for an image
 * that is damaged, or that has changed meanwhile.
 */
export async function convertQcow2(
  source: Source,
  target: number,
  { signal, onProgress }: { readonly signal: AbortSignal; readonly onProgress?: OnProgress | undefined },
): Promise<void> {
  const { fd, path } = source
  const before = statDescriptor(fd)
  const image = headerOf(fd, path)
  const { bytes, clusterBits, l1Offset, parts } = image
  const clusterBytes = 2 ** clusterBits
  const perTable = clusterBytes / (parts ? 16 : 8)
  const tables = Math.ceil(bytes / (clusterBytes * perTable))
  const l1 = readAt(source, l1Offset, 8 * tables)
  const cluster = clusterReader(image, source)
  let work = 0
  for (let table = 0; table < tables; table++) {
    const l2Offset = offsetIn(l1.getBigUint64(8 * table))
    work += clusterBytes
    const l2 = l2Offset === 0 ? undefined : readAt(source, l2Offset, clusterBytes)
    for (let index = 0; l2 !== undefined && index < perTable; index++) {
      const at = (table * perTable + index) * clusterBytes
      if (at >= bytes) break
      const [entry, bitmap] = parts
        ? [l2.getBigUint64(16 * index), l2.getBigUint64(16 * index + 8)]
        : [l2.getBigUint64(8 * index), 0n]
      if (entry === 0n) continue
      for (const piece of cluster(entry, bitmap))
        work += writePiece(target, piece.bytes.subarray(0, Math.max(0, bytes - at - piece.from)), at + piece.from)
      work += clusterBytes
      if (work < TURN_BYTES) continue
      work = 0
      onProgress?.(at, bytes)
      await new Promise(setImmediate)
      signal.throwIfAborted()
    }
    if (work >= TURN_BYTES) {
      work = 0
      onProgress?.(Math.min(bytes, (table + 1) * perTable * clusterBytes), bytes)
      await new Promise(setImmediate)
      signal.throwIfAborted()
    }
  }
  setLength(target, bytes)
  const after = statDescriptor(fd)
  if (after.mtimeMs !== before.mtimeMs || after.size !== before.size) {
    const hint = "does a VM write to it? stop that first"
    throw new Failure("BAD_FILE", `${path} changed while it was converted`, { hint, subject: path })
  }
}

// --- internal ---

/** After so much work others have a turn. */
const TURN_BYTES = 16 * 1024 * 1024

/** File systems give space by this much. */
const BLOCK_BYTES = 4096
const ZEROS = Buffer.alloc(2 ** 21)
const PARTS_COUNT = 32
const CHECK = "look at it: qemu-img check"

/** A part of a cluster that has data, and where in the cluster it is. */
interface Piece {
  readonly from: number
  readonly bytes: Uint8Array
}

function headerOf(fd: number, path: string): Qcow2 {
  const header = new Uint8Array(QCOW2_HEADER_BYTES)
  return parseQcow2(header.subarray(0, readSync(fd, header, 0, header.length, 0)), path)
}

/** An image that is read. */
interface Source {
  readonly fd: number
  readonly path: string
}

/** So many bytes of a file; what is behind its end is zero. Throws BAD_FILE for where no file of this host can be. */
function readAt({ fd, path }: Source, offset: number, length: number): DataView {
  if (!Number.isSafeInteger(offset + length))
    throw new Failure("BAD_FILE", `${path} has an offset that no file has`, { hint: CHECK, subject: path })
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; ) {
    const count = readSync(fd, bytes, at, length - at, offset + at)
    if (count === 0) break
    at += count
  }
  return new DataView(bytes.buffer)
}

function bytesAt(source: Source, offset: number, length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readAt(source, offset, length).buffer as ArrayBuffer)
}

function clusterReader(image: Qcow2, source: Source) {
  const clusterBytes = 2 ** image.clusterBits
  const partBytes = clusterBytes / PARTS_COUNT
  return (entry: bigint, bitmap: bigint): readonly Piece[] => {
    const cluster = clusterOf(image, entry, bitmap)
    if (cluster.is === "zero") return []
    if (cluster.is === "compressed") {
      const packed = bytesAt(source, cluster.offset, cluster.length)
      return [{ from: 0, bytes: unpack(packed, image, source.path) }]
    }
    const { offset, present } = cluster
    if (present === undefined) return [{ from: 0, bytes: bytesAt(source, offset, clusterBytes) }]
    return Array.from({ length: PARTS_COUNT }, (_, part) => part)
      .filter((part) => (present & (1 << part)) !== 0)
      .map((part) => ({ from: part * partBytes, bytes: bytesAt(source, offset + part * partBytes, partBytes) }))
  }
}

/** One whole cluster: what comes behind the packed bytes is another's. */
function unpack(packed: Uint8Array<ArrayBuffer>, { compression, clusterBits }: Qcow2, path: string): Uint8Array {
  const clusterBytes = 2 ** clusterBits
  try {
    const whole = compression === "zlib" ? inflated(packed, clusterBytes) : unpackedZstd(packed)
    if (whole.length === clusterBytes) return whole
  } catch (error) {
    throw damaged(path, error)
  }
  throw damaged(path)
}

function inflated(packed: Uint8Array, clusterBytes: number): Uint8Array {
  return inflateRawSync(packed, { maxOutputLength: clusterBytes, finishFlush: constants.Z_SYNC_FLUSH })
}

function unpackedZstd(packed: Uint8Array<ArrayBuffer>): Uint8Array {
  const length = zstdFrameBytes(packed)
  return length === undefined ? new Uint8Array() : Bun.zstdDecompressSync(packed.subarray(0, length))
}

function damaged(path: string, cause?: unknown): Failure {
  const why = cause === undefined ? "" : `: ${messageOf(cause)}`
  const words = `${path} has a cluster that cannot be unpacked${why}`
  return new Failure("BAD_FILE", words, { hint: CHECK, subject: path, cause })
}

/** Writes what is not zero, in whole blocks. Returns how many bytes that were. */
function writePiece(target: number, bytes: Uint8Array, at: number): number {
  let written = 0
  for (let from = 0; from < bytes.length; ) {
    let to = from
    while (to < bytes.length && !isZero(bytes, to)) to = Math.min(bytes.length, to + BLOCK_BYTES)
    for (let done = from; done < to; ) done += writeSync(target, bytes, done, to - done, at + done)
    written += to - from
    from = to + BLOCK_BYTES
  }
  return written
}

/** Whether the block that begins there is all zero. */
function isZero(bytes: Uint8Array, from: number): boolean {
  const to = Math.min(bytes.length, from + BLOCK_BYTES)
  return ZEROS.compare(bytes, from, to, 0, to - from) === 0
}
