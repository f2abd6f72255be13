/**
 * How long the zstd frame is with which bytes begin (RFC 8878, 3.1.1); undefined where they begin with none, or with one that could
 * unpack to more than 64 MiB, whatever it says of itself. Pure.
 */
export function zstdFrameBytes(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 6 || view.getUint32(0, true) !== FRAME.magic) return undefined
  const descriptor = view.getUint8(4)
  const single = (descriptor & 0x20) !== 0
  const contentSize = [single ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0
  let at = 5 + (single ? 0 : 1) + dictionary + contentSize
  if (at > bytes.length) return undefined
  // What it says is what the library makes room for.
  for (let index = 3; index < contentSize; index++) if (bytes[at - contentSize + index] !== 0) return undefined
  let most = 0
  for (let last = false; !last; ) {
    if (at + 3 > bytes.length) return undefined
    const head = view.getUint16(at, true) | (view.getUint8(at + 2) << 16)
    last = (head & 1) !== 0
    const [type, size] = [(head >> 1) & 3, head >> 3]
    if (type === BLOCK.reserved) return undefined
    at += 3 + (type === BLOCK.run ? 1 : size)
    most += type === BLOCK.compressed ? BLOCK_MAX_BYTES : size
    if (most > MOST_BYTES) return undefined
  }
  if ((descriptor & 4) !== 0) at += 4
  return at > bytes.length ? undefined : at
}

// --- internal ---

const FRAME = { magic: 0xfd2f_b528 } as const
const BLOCK = { run: 1, compressed: 2, reserved: 3 } as const

/** A compressed block unpacks to this much at most. */
const BLOCK_MAX_BYTES = 128 * 1024
const MOST_BYTES = 64 * 1024 * 1024
