/** How many of a program's first bytes `hasInterpreter` needs: linkers put the headers first. */
export const ELF_HEAD_BYTES = 4096

/**
 * Whether a program needs a dynamic loader, and so libraries: its ELF program headers then have a PT_INTERP (elf(5), 64-bit
 * little endian). Throws when the bytes are not the head of such a program. Pure.
 */
export function hasInterpreter(head: Uint8Array): boolean {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength)
  const magic = head.length >= 64 && view.getUint32(0, false) === 0x7f45_4c46
  if (!magic || head[4] !== 2 || head[5] !== 1) throw new Error("not a 64-bit ELF program")
  const offset = Number(view.getBigUint64(32, true))
  const size = view.getUint16(54, true)
  const count = view.getUint16(56, true)
  if (size < 56 || offset + size * count > head.length)
    throw new Error("its ELF program headers are not at its beginning")
  return Array.from({ length: count }, (_, i) => view.getUint32(offset + i * size, true)).includes(PT_INTERP)
}

// --- internal ---

const PT_INTERP = 3
