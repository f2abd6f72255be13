/** The smallest ELF64 file with a `.modinfo` section: what a kernel module is to the scripts. */
export function moduleWith(modinfo: readonly string[]): Uint8Array {
  const names = Buffer.from("\0.shstrtab\0.modinfo\0")
  const info = Buffer.from(modinfo.map((line) => `${line}\0`).join(""))
  const table = 64 + names.length + info.length
  const elf = Buffer.alloc(table + 3 * 64)
  elf.writeUInt32BE(0x7f454c46, 0)
  elf.writeBigUInt64LE(BigInt(table), 0x28)
  elf.writeUInt16LE(64, 0x3a)
  elf.writeUInt16LE(3, 0x3c)
  elf.writeUInt16LE(1, 0x3e)
  names.copy(elf, 64)
  info.copy(elf, 64 + names.length)
  writeSection(elf, table + 64, { name: 1, at: 64, size: names.length })
  writeSection(elf, table + 128, { name: 11, at: 64 + names.length, size: info.length })
  return new Uint8Array(elf)
}

function writeSection(elf: Buffer, header: number, section: { name: number; at: number; size: number }): void {
  elf.writeUInt32LE(section.name, header)
  elf.writeBigUInt64LE(BigInt(section.at), header + 0x18)
  elf.writeBigUInt64LE(BigInt(section.size), header + 0x20)
}
