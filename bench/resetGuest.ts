/**
 * The smallest guest: an ELF with a PVH entry whose only instructions reset the machine through the keyboard controller. So
 * only starting and ending the VMM takes time.
 */
export function resetGuest(): Uint8Array {
  const code = new Uint8Array([0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd]) // mov al,0xfe; out 0x64,al; hlt; jmp hlt
  const note = packNote("Xen\0", XEN_ELFNOTE_PHYS32_ENTRY, LOAD_ADDRESS)
  const codeAt = EHDR_SIZE + 2 * PHDR_SIZE
  const file = new Uint8Array(codeAt + code.length + note.length)
  file.set(packHeader())
  file.set(packSegment(PT_LOAD, codeAt, LOAD_ADDRESS, code.length), EHDR_SIZE)
  file.set(packSegment(PT_NOTE, codeAt + code.length, 0, note.length), EHDR_SIZE + PHDR_SIZE)
  file.set(code, codeAt)
  file.set(note, codeAt + code.length)
  return file
}

// --- internal: elf(5), and the note of xen/include/public/elfnote.h ---

const EHDR_SIZE = 64
const PHDR_SIZE = 56
const PT_LOAD = 1
const PT_NOTE = 4
const XEN_ELFNOTE_PHYS32_ENTRY = 18
const LOAD_ADDRESS = 0x100000

function packHeader(): Uint8Array {
  const view = new DataView(new ArrayBuffer(EHDR_SIZE))
  new Uint8Array(view.buffer).set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]) // 64-bit, little-endian, version 1
  view.setUint16(16, 2, true) // ET_EXEC
  view.setUint16(18, 62, true) // EM_X86_64
  view.setUint32(20, 1, true)
  view.setBigUint64(24, BigInt(LOAD_ADDRESS), true)
  view.setBigUint64(32, BigInt(EHDR_SIZE), true)
  view.setUint16(52, EHDR_SIZE, true)
  view.setUint16(54, PHDR_SIZE, true)
  view.setUint16(56, 2, true)
  return new Uint8Array(view.buffer)
}

function packSegment(type: number, offset: number, address: number, size: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(PHDR_SIZE))
  view.setUint32(0, type, true)
  view.setUint32(4, 5, true) // readable, executable
  view.setBigUint64(8, BigInt(offset), true)
  for (const at of [16, 24]) view.setBigUint64(at, BigInt(address), true)
  for (const at of [32, 40]) view.setBigUint64(at, BigInt(size), true)
  view.setBigUint64(48, 1n, true)
  return new Uint8Array(view.buffer)
}

function packNote(name: string, type: number, value: number): Uint8Array {
  const words = new Uint32Array([name.length, 4, type])
  const description = new Uint32Array([value])
  return Buffer.concat([Buffer.from(words.buffer), Buffer.from(name), Buffer.from(description.buffer)])
}
