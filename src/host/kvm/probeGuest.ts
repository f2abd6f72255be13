// The room kvm: whether guests can run by this host's KVM, which is found out by running one.
// The rule: no module's name and no processor's flag is believed where a guest can be tried.

/** Where a processor of the probe's guest starts: in protected mode, without paging, as a PVH kernel does. */
export const START = { rip: 0x1000, rsp: 0x3000 } as const

/** The port that the guest writes to after each round, and the instructions of one. */
export const ROUND = { port: 0x10, instructions: 30_000 } as const

/** The guest's memory, from its address 0 on. */
export const MEMORY_BYTES = 0x10000

/** Where its descriptor table lies, and the selectors of 32-bit code and of data. */
export const GDT = { base: 0x500, limit: 31, code32: 0x18, data: 0x10 } as const

/**
 * Writes the guest: what every stock x86-64 kernel does in its first milliseconds. It switches on long mode and paging, loads
 * an IDT, asks for its CPUID, takes an exception and returns from it (Linux's int3_selftest), and then counts, round by
 * round. A hypervisor without the processor's help must emulate each instruction: it lacks the one or is too slow for the other.
 */
export function writeProbeGuest(memory: Uint8Array): void {
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength)
  // Identity: one page of 2 MiB.
  view.setBigUint64(AT.pages, BigInt(AT.pages + 0x1003), true)
  view.setBigUint64(AT.pages + 0x1000, BigInt(AT.pages + 0x2003), true)
  view.setBigUint64(AT.pages + 0x2000, 0x83n, true)
  // Nothing, 64-bit code, data, 32-bit code.
  const descriptors = [0n, 0x00af9b000000ffffn, 0x00cf93000000ffffn, 0x00cf9b000000ffffn]
  for (const [index, value] of descriptors.entries()) view.setBigUint64(GDT.base + index * 8, value, true)
  // Vector 3: an interrupt gate of the 64-bit code.
  view.setUint16(AT.idt + 3 * 16, AT.handler, true)
  view.setUint16(AT.idt + 3 * 16 + 2, 0x08, true)
  view.setUint8(AT.idt + 3 * 16 + 5, 0x8e)
  view.setUint16(AT.idtPointer, 0x1ff, true)
  view.setBigUint64(AT.idtPointer + 2, BigInt(AT.idt), true)
  memory.set(PROTECTED_MODE, START.rip)
  memory.set(LONG_MODE, AT.longMode)
  memory.set([0x48, 0xcf], AT.handler) // iretq
}

// --- internal ---

/** Where its parts lie. */
const AT = { idtPointer: 0x700, longMode: 0x1100, handler: 0x1800, idt: 0x2000, pages: 0x3000 } as const

const word = (value: number) => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24]

const PROTECTED_MODE = [
  ...[0xb8, ...word(0x20), 0x0f, 0x22, 0xe0], // mov eax, PAE; mov cr4, eax
  ...[0xb8, ...word(AT.pages), 0x0f, 0x22, 0xd8], // mov eax, the tables; mov cr3, eax
  ...[0xb9, ...word(0xc0000080), 0x0f, 0x32], // mov ecx, EFER; rdmsr
  ...[0x0d, ...word(0x100), 0x0f, 0x30], // or eax, LME; wrmsr
  ...[0xb8, ...word(0x80000011), 0x0f, 0x22, 0xc0], // mov eax, PG|ET|PE; mov cr0, eax
  ...[0xea, ...word(AT.longMode), 0x08, 0x00], // to 64-bit code
]

const LONG_MODE = [
  ...[0x0f, 0x01, 0x1c, 0x25, ...word(AT.idtPointer)], // lidt [the pointer]
  ...[0x31, 0xc0, 0x0f, 0xa2], // xor eax, eax; cpuid
  0xcc, // int3
  ...[0xb9, ...word(ROUND.instructions / 3)], // round: mov ecx, a third of the instructions
  ...[0x01, 0x0c, 0x25, ...word(0x608)], // count: add [0x608], ecx
  ...[0xff, 0xc9, 0x75, 0xf5], // dec ecx; jnz count
  ...[0xe6, ROUND.port], // out ROUND.port, al
  ...[0xeb, 0xec], // jmp round
]
