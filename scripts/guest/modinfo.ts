/** What a kernel module says about itself: the `key=value` strings in its `.modinfo` section. */
export function readModinfo(elf: Uint8Array): Map<string, string[]> {
  const info = new Map<string, string[]>()
  for (const line of new TextDecoder().decode(section(elf, ".modinfo")).split("\0")) {
    const equals = line.indexOf("=")
    if (equals < 0) continue
    const key = line.slice(0, equals)
    info.set(key, [...(info.get(key) ?? []), line.slice(equals + 1)])
  }
  return info
}

/** The modules that the kernel must have before this one. */
export function dependenciesOf(elf: Uint8Array): string[] {
  const listed = readModinfo(elf).get("depends")?.[0] ?? ""
  return listed.split(",").filter(Boolean).map(moduleName)
}

/** A module's name in the form that the kernel prints: to the kernel, `-` and `_` are the same letter. */
export function moduleName(name: string): string {
  return name.replaceAll("-", "_")
}

// --- internal ---

/** ELF64, little-endian: offsets are those of Elf64_Ehdr and Elf64_Shdr. */
function section(elf: Uint8Array, wanted: string): Uint8Array {
  const view = new DataView(elf.buffer, elf.byteOffset, elf.byteLength)
  if (elf.length < 64 || view.getUint32(0) !== 0x7f454c46) throw new Error("a kernel module is no ELF file")
  const table = Number(view.getBigUint64(0x28, true))
  const entrySize = view.getUint16(0x3a, true)
  const count = view.getUint16(0x3c, true)
  const at = (index: number) => table + index * entrySize
  const body = (index: number) => {
    const start = Number(view.getBigUint64(at(index) + 0x18, true))
    return elf.subarray(start, start + Number(view.getBigUint64(at(index) + 0x20, true)))
  }
  const names = body(view.getUint16(0x3e, true))
  for (let index = 0; index < count; index++) {
    const start = view.getUint32(at(index), true)
    const name = new TextDecoder().decode(names.subarray(start, names.indexOf(0, start)))
    if (name === wanted) return body(index)
  }
  throw new Error(`a kernel module has no ${wanted} section`)
}
