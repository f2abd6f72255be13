/** A bzImage as small as can be, whose payload is this. */
export function bzImageWith(payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const image = Buffer.alloc(2 * 512 + 16 + payload.length)
  image.writeUInt8(1, 0x1f1)
  image.write("HdrS", 0x202)
  image.writeUInt32LE(16, 0x248)
  image.writeUInt32LE(payload.length, 0x24c)
  image.set(payload, 2 * 512 + 16)
  return new Uint8Array(image)
}
