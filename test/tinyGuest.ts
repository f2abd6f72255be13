// Guests that fit into a page, for x86-64, without Linux: the same file runs on the double of Firecracker, which reads the
// words at its end, and on the real one, which runs the code before them. A host whose KVM boots no stock kernel runs them
// too: they use the serial port, the keyboard's controller and nothing else.

/** What is in a guest's words: `PRINT[text]` is its greeting, and one more word is what it does then. */
const GREETING = /PRINT\[([^\]]*)\]/

/**
 * The kernel file of a guest that says its greeting (BANGER-GUEST-UP where its words have none) on the serial port, and
 * then does what its words say: RESET, HALT (says that it powers off, and stands still), DEAF (reads no key), TRIPLE (runs
 * into an exception that nothing handles), DISK (says how many sectors its first disk has, `D8`, up to nine, and resets) or
 * FLOOD (says numbered lines without end, until Ctrl-Alt-Del). Without such a word it says back what it reads on the serial
 * port, and at Ctrl-Alt-Del says R and resets.
 */
export function tinyGuest(words = ""): Buffer {
  const greeting = GREETING.exec(words)?.[1] ?? "BANGER-GUEST-UP"
  const does = words.replace(GREETING, "").trim()
  const after = AFTER[does === "" ? "KEYS" : does]
  // The double has more words than a processor can show.
  if (after === undefined) return elf(Buffer.alloc(0), words)
  return elf(assemble([...say("greeting"), ...after, label("greeting"), text(`${greeting}\n`)]), words)
}

// --- internal: what guests do, in the order in which a processor does it ---

/** Bytes of a program, a place in it, or the distance to such a place, in one byte or in four. */
type Part = readonly number[] | { readonly label: string } | { readonly to: string; readonly size: 1 | 4 }

const SERIAL = 0xf8
const SERIAL_STATUS = 0xfd
const KEYBOARD = 0x60
const KEYBOARD_STATUS = 0x64
/** The last of the bytes that Firecracker's Ctrl-Alt-Del is. */
const DELETE = 0x71

const label = (name: string): Part => ({ label: name })
const text = (said: string): Part => [...Buffer.from(said, "latin1")]
const jump = (to: string): Part[] => [[0xeb], { to, size: 1 }]
const jumpIfZero = (to: string): Part[] => [[0x74], { to, size: 1 }]
const jumpIfNot = (to: string): Part[] => [[0x75], { to, size: 1 }]
const load = (value: number): Part => [0xb0, value] // mov al, value
const compare = (value: number): Part => [0x3c, value] // cmp al, value
const testBit0: Part = [0xa8, 1] // test al, 1
const readPort = (port: number): Part => [0xe4, port] // in al, port
const writePort = (port: number): Part => [0xe6, port] // out port, al
const selectSerial = (port: number): Part => [0xb2, port] // mov dl, port: the serial port's are 0x3f8 to 0x3ff
const readSerial: Part = [0xec] // in al, dx
const writeSerial: Part = [0xee] // out dx, al

/** Says a text that ends with a line feed. */
function say(what: string): Part[] {
  return [
    [0x66, 0xba, SERIAL, 0x03], // mov dx, 0x3f8
    [0x48, 0x8d, 0x35], // lea rsi, what
    { to: what, size: 4 },
    label(`say ${what}`),
    [0xac], // lodsb
    writeSerial,
    compare(0x0a),
    ...jumpIfNot(`say ${what}`),
  ]
}

const stand: Part[] = [label("stand"), [0xf4], ...jump("stand")] // hlt, with interrupts off
const reset: Part[] = [load(0xfe), writePort(KEYBOARD_STATUS), ...stand]
const pressed: Part[] = [label("pressed"), load("R".charCodeAt(0)), writeSerial, ...reset]
const ifPressed = (otherwise: string): Part[] => [
  readPort(KEYBOARD_STATUS),
  testBit0,
  ...jumpIfZero(otherwise),
  readPort(KEYBOARD),
  compare(DELETE),
  ...jumpIfZero("pressed"),
]

const AFTER: Readonly<Record<string, readonly Part[]>> = {
  RESET: reset,
  // As Linux says it.
  HALT: [...say("power"), ...stand, label("power"), text("[    1.000000] reboot: Power down\n")],
  DEAF: stand,
  TRIPLE: [[0x0f, 0x0b]], // ud2
  DISK: [
    load("D".charCodeAt(0)),
    writeSerial,
    // Of what Firecracker maps at the start, the second page of 2 MiB now leads to where it puts devices.
    [0xc7, 0x04, 0x25, 0x08, 0xb0, 0x00, 0x00, 0x83, 0x00, 0x00, 0xc0], // mov dword [0xb008], 0xc0000083
    [0x8b, 0x04, 0x25, 0x00, 0x11, 0x20, 0x00], // mov eax, [0x201100]: the first device's capacity
    [0x04, "0".charCodeAt(0)], // add al, "0"
    writeSerial,
    load(0x0a),
    writeSerial,
    ...reset,
  ],
  KEYS: [
    label("keys"),
    ...ifPressed("serial"),
    label("serial"),
    selectSerial(SERIAL_STATUS),
    readSerial,
    selectSerial(SERIAL),
    testBit0,
    ...jumpIfZero("keys"),
    readSerial,
    writeSerial,
    ...jump("keys"),
    ...pressed,
  ],
  COUNT: [
    [0x48, 0xc7, 0xc3, 0x00, 0x00, 0x30, 0x00], // mov rbx, 0x300000
    label("count"),
    [0x48, 0xff, 0x03], // inc qword [rbx]
    ...ifPressed("count"),
    ...jump("count"),
    ...pressed,
  ],
  FLOOD: [
    label("line"),
    ...say("flood"),
    [0x48, 0x8d, 0x3d], // lea rdi, units
    { to: "units", size: 4 },
    label("carry"),
    [0xfe, 0x07], // inc byte [rdi]
    [0x80, 0x3f, "9".charCodeAt(0) + 1], // cmp byte [rdi], "9" + 1
    ...jumpIfNot("counted"),
    [0xc6, 0x07, "0".charCodeAt(0)], // mov byte [rdi], "0"
    [0x48, 0xff, 0xcf], // dec rdi
    ...jump("carry"),
    label("counted"),
    ...ifPressed("line"),
    ...jump("line"),
    ...pressed,
    label("flood"),
    text("flood 0000000"),
    label("units"),
    text("0\n"),
  ],
}

function assemble(parts: readonly Part[]): Buffer {
  const sizeOf = (part: Part) => ("label" in part ? 0 : "to" in part ? part.size : part.length)
  const places = new Map<string, number>()
  let end = 0
  for (const part of parts) {
    if ("label" in part) places.set(part.label, end)
    end += sizeOf(part)
  }
  const code = Buffer.alloc(end)
  let at = 0
  for (const part of parts) {
    const next = at + sizeOf(part)
    if ("to" in part) {
      const place = places.get(part.to)
      if (place === undefined) throw new Error(`no place in the program is called ${part.to}`)
      code.writeIntLE(place - next, at, part.size)
    } else if (!("label" in part)) code.set(part, at)
    at = next
  }
  return code
}

/** Where a guest is in its memory, and where its code is in its file. */
const ADDRESS = 0x100000
const HEADER_BYTES = 0x78

// An ELF file of one segment, and the words behind it, which are not loaded.
function elf(code: Buffer, words: string): Buffer {
  const head = Buffer.alloc(HEADER_BYTES)
  head.write("\x7fELF\x02\x01\x01", "latin1")
  head.writeUInt16LE(2, 16)
  head.writeUInt16LE(62, 18)
  head.writeUInt32LE(1, 20)
  head.writeBigUInt64LE(BigInt(ADDRESS), 24)
  head.writeBigUInt64LE(64n, 32)
  head.writeUInt16LE(64, 52)
  head.writeUInt16LE(56, 54)
  head.writeUInt16LE(1, 56)
  head.writeUInt32LE(1, 64)
  head.writeUInt32LE(5, 68)
  const fields = [72, 80, 88, 96, 104, 112]
  const values = [HEADER_BYTES, ADDRESS, ADDRESS, code.length, code.length, 0x1000]
  for (const [index, at] of fields.entries()) head.writeBigUInt64LE(BigInt(values[index] ?? 0), at)
  return Buffer.concat([head, code, Buffer.from(words, "latin1")])
}
