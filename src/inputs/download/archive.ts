import { Failure, messageOf } from "../../base/terms/failure.ts"

/** A unit of tar's. */
const BLOCK_BYTES = 512

/**
 * The regular files with these names in a gzipped tar, whatever directory they are in there. Throws a failure when it is
 * no such archive, or has not every name exactly once. Owners, modes and links in it are of no concern here. Pure.
 */
export function unpackFiles(archive: Uint8Array<ArrayBuffer>, names: readonly string[]): readonly Uint8Array[] {
  let tar: Uint8Array
  try {
    tar = Bun.gunzipSync(archive)
  } catch (error) {
    throw new Failure("FAILED", `the archive is damaged: ${messageOf(error)}`, { cause: error })
  }
  const found = new Map<string, Uint8Array>()
  for (let at = 0; at + BLOCK_BYTES <= tar.length && tar[at] !== 0; ) {
    const size = Number.parseInt(text(tar, at + 124, 12), 8)
    if (!Number.isSafeInteger(size) || size < 0)
      throw new Failure("FAILED", "the archive is damaged: a file has no size")
    const [name = ""] = text(tar, at, 100).split("/").slice(-1)
    const isFile = tar[at + 156] === 0x30 || tar[at + 156] === 0
    if (isFile && names.includes(name)) {
      if (found.has(name)) throw new Failure("FAILED", `the archive has two files ${name}`)
      if (at + BLOCK_BYTES + size > tar.length) throw new Failure("FAILED", `the archive is damaged: ${name} is cut`)
      found.set(name, tar.subarray(at + BLOCK_BYTES, at + BLOCK_BYTES + size))
    }
    at += BLOCK_BYTES + Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES
  }
  return names.map((name) => {
    const content = found.get(name)
    if (content === undefined) throw new Failure("FAILED", `the archive has no ${name}`)
    return content
  })
}

// --- internal ---

function text(tar: Uint8Array, at: number, length: number): string {
  return Buffer.from(tar.subarray(at, at + length))
    .toString("latin1")
    .replace(/\0.*/s, "")
    .trim()
}
