// Guests that fit into a page, for x86-64: each says BANGER-GUEST-UP on the serial port and then does one thing. Behind the
// program stands the word by which the double does the same.

const ADDRESS = 0x100000
const HEADER_BYTES = 0x78

/** The kernel file of each guest, by what it does after its greeting. */
export const GUESTS: Readonly<Record<string, Buffer>> = {
  /** Reads keys until Ctrl-Alt-Del, says R and resets. */
  kernel: guest(
    [0xe4, 0x64, 0xa8, 0x01, 0x74, 0xfa, 0xe4, 0x60, 0x3c, 0x71, 0x75, 0xf4, 0xb0, 0x52, 0xee, ...reset()],
    "",
  ),
  /** As that one, and counts in its memory meanwhile. */
  counter: guest(
    [
      ...[0x48, 0xc7, 0xc3, 0x00, 0x00, 0x30, 0x00, 0x48, 0xff, 0x03, 0xe4, 0x64, 0xa8, 0x01, 0x74, 0xf7],
      ...[0xe4, 0x60, 0x3c, 0x71, 0x75, 0xf1, 0xb0, 0x52, 0xee, ...reset()],
    ],
    "",
  ),
  /** Resets at once. */
  reset: guest(reset(), "RESET"),
  /** Stands still with interrupts off, as after a power-off. */
  halt: guest([0xf4, 0xeb, 0xfd], "HALT"),
  /** Runs on and reads no key. */
  deaf: guest([0xf3, 0x90, 0xeb, 0xfc], "DEAF"),
  /** Runs into an exception that nothing handles. */
  triple: guest([0x0f, 0x0b], "TRIPLE"),
}

// --- internal ---

function reset(): number[] {
  return [0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd]
}

// An ELF file of one segment: the greeting, then `after`.
function guest(after: readonly number[], word: string): Buffer {
  const text = Buffer.from("BANGER-GUEST-UP\n")
  const greet = [
    0x66,
    0xba,
    0xf8,
    0x03,
    0x48,
    0x8d,
    0x35,
    after.length + 9,
    0,
    0,
    0,
    0xb9,
    text.length,
    0,
    0,
    0,
    0xac,
    0xee,
    0xe2,
    0xfc,
  ]
  const code = Buffer.concat([Buffer.from([...greet, ...after]), text])
  const file = Buffer.alloc(HEADER_BYTES + code.length + word.length)
  file.write("\x7fELF\x02\x01\x01", "latin1")
  file.writeUInt16LE(2, 16)
  file.writeUInt16LE(62, 18)
  file.writeUInt32LE(1, 20)
  file.writeBigUInt64LE(BigInt(ADDRESS), 24)
  file.writeBigUInt64LE(64n, 32)
  file.writeUInt16LE(64, 52)
  file.writeUInt16LE(56, 54)
  file.writeUInt16LE(1, 56)
  file.writeUInt32LE(1, 64)
  file.writeUInt32LE(5, 68)
  for (const [at, value] of [
    [72, HEADER_BYTES],
    [80, ADDRESS],
    [88, ADDRESS],
    [96, code.length],
    [104, code.length],
    [112, 0x1000],
  ] as const)
    file.writeBigUInt64LE(BigInt(value), at)
  code.copy(file, HEADER_BYTES)
  file.write(word, HEADER_BYTES + code.length)
  return file
}
