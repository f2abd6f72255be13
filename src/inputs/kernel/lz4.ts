/**
 * Unpacks the LZ4 "legacy" frame, the one the kernel's build uses for its own image. Neither Bun, Node nor a
 * minimal system can unpack it. The format is two loops: literals, then a copy of what was already written.
 */

/** The first bytes of such a frame. */
export const LEGACY_LZ4 = [0x02, 0x21, 0x4c, 0x18]

const BLOCK_MAX_BYTES = 8 << 20

export function unpackLegacyLz4(data: Uint8Array): Uint8Array<ArrayBuffer> {
  const view = viewOf(data)
  const blocks: Uint8Array[] = []
  let at = 4
  while (at + 4 <= data.length) {
    const size = view.getUint32(at, true)
    if (at + 4 + size > data.length) throw new Error("the LZ4 data ends in the middle of a block")
    blocks.push(unpackBlock(data.subarray(at + 4, at + 4 + size)))
    at += 4 + size
  }
  return Bun.concatArrayBuffers(blocks, Number.MAX_SAFE_INTEGER, true)
}

// --- internal ---

function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength)
}

function unpackBlock(block: Uint8Array): Uint8Array {
  const out = new Uint8Array(BLOCK_MAX_BYTES)
  let at = 0
  let end = 0

  const byte = (): number => {
    const value = block[at++]
    if (value === undefined) throw new Error("the LZ4 data ends in the middle of a block")
    return value
  }
  const length = (nibble: number): number => {
    let total = nibble
    for (let more = nibble === 15 ? 255 : 0; more === 255; ) {
      more = byte()
      total += more
    }
    return total
  }

  while (at < block.length) {
    const token = byte()
    const literals = length(token >> 4)
    out.set(block.subarray(at, at + literals), end)
    at += literals
    end += literals
    if (at >= block.length) break
    const distance = byte() | (byte() << 8)
    const matched = length(token & 15) + 4
    if (distance === 0 || distance > end) throw new Error("the LZ4 data refers to bytes before its start")
    // One by one on purpose: a match may overlap what it writes.
    for (let i = 0; i < matched; i++, end++) out[end] = out[end - distance] ?? 0
  }
  return out.subarray(0, end)
}
