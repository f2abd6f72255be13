/** A netlink message taken apart (netlink(7)): its body begins with the family's own header. */
export interface Message {
  readonly type: number
  readonly flags: number
  readonly sequence: number
  readonly body: Uint8Array
}

/** Flags of a request (linux/netlink.h). */
export const NLM_F = { REQUEST: 1, ACK: 4, DUMP_INTR: 0x10, DUMP: 0x300, REPLACE: 0x100, EXCL: 0x200, CREATE: 0x400 }

/** Types of the messages that end an answer. */
export const NLMSG = { ERROR: 2, DONE: 3 } as const

/** `struct nlmsghdr` and a body: u32 length, u16 type, u16 flags, u32 sequence, u32 port id. */
export function packMessage({ type, flags, sequence, body }: Message): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(HEADER + body.length))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, bytes.length, true)
  view.setUint16(4, type, true)
  view.setUint16(6, flags, true)
  view.setUint32(8, sequence, true)
  bytes.set(body, HEADER)
  return bytes
}

/** The messages of one read. Throws when a length leads out of the bytes, because then none of them can be believed. */
export function parseMessages(bytes: Uint8Array): readonly Message[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const messages: Message[] = []
  for (let at = 0; at + HEADER <= bytes.length; ) {
    const length = view.getUint32(at, true)
    if (length < HEADER || at + length > bytes.length) throw new RangeError(`netlink message of ${length} bytes`)
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      body: bytes.subarray(at + HEADER, at + length),
    })
    at += aligned(length)
  }
  return messages
}

/** `struct nlattr` with a value, padded to four bytes: u16 length, u16 type. */
export function attribute(type: number, value: Uint8Array): Uint8Array {
  const length = ATTRIBUTE + value.length
  if (length > 0xffff) throw new RangeError(`netlink attribute of ${length} bytes`)
  const bytes = new Uint8Array(aligned(length))
  const view = new DataView(bytes.buffer)
  view.setUint16(0, length, true)
  view.setUint16(2, type, true)
  bytes.set(value, ATTRIBUTE)
  return bytes
}

/** An attribute made of attributes. */
export function nested(type: number, ...attributes: readonly Uint8Array[]): Uint8Array {
  return attribute(type | NLA_F_NESTED, joined(...attributes))
}

/** A NUL-terminated string; a NUL inside would cut it. */
export function textAttribute(type: number, text: string): Uint8Array {
  if (text.includes("\0")) throw new TypeError(`netlink string with a NUL character: ${text}`)
  return attribute(type, Buffer.from(`${text}\0`))
}

/** A u32 of this machine's byte order. */
export function u32Attribute(type: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value, true)
  return attribute(type, bytes)
}

/** A u8. */
export function u8Attribute(type: number, value: number): Uint8Array {
  return attribute(type, Uint8Array.of(value))
}

/** The attributes of a body behind its family's header, by type. A second one of a type takes the first one's place. */
export function parseAttributes(bytes: Uint8Array): ReadonlyMap<number, Uint8Array> {
  return new Map(listAttributes(bytes))
}

/** As `parseAttributes`, but only of these types: most of what the kernel tells of an interface is not asked for. */
export function pickAttributes(bytes: Uint8Array, types: ReadonlySet<number>): ReadonlyMap<number, Uint8Array> {
  const found = new Map<number, Uint8Array>()
  eachAttribute(bytes, (type, from, to) => {
    if (types.has(type)) found.set(type, bytes.subarray(from, to))
  })
  return found
}

/** The attributes of a body behind its family's header in their order: each one's type and value. */
export function listAttributes(bytes: Uint8Array): readonly (readonly [type: number, value: Uint8Array])[] {
  const found: (readonly [number, Uint8Array])[] = []
  eachAttribute(bytes, (type, from, to) => {
    found.push([type, bytes.subarray(from, to)])
  })
  return found
}

/** A string attribute's text. */
export function textOf(value: Uint8Array | undefined): string | undefined {
  return value && DECODER.decode(value.at(-1) === 0 ? value.subarray(0, -1) : value)
}

/** A u32 attribute's number. */
export function u32Of(value: Uint8Array | undefined): number | undefined {
  if (value === undefined || value.length < 4) return undefined
  return new DataView(value.buffer, value.byteOffset, value.byteLength).getUint32(0, true)
}

/** Bytes one after the other. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

/** What one read has of the answer to a request. */
export interface Part {
  readonly messages: readonly Message[]
  /** The message that ends the answer, when it is among them. */
  readonly end: Message | undefined
  /** Whether the list changed while it was read, so that something may be missing. Its last message alone may say so. */
  readonly torn: boolean
}

/** Picks the answer to this request, up to its end, out of what was read. Pure. */
export function partOf(read: readonly Message[], sequence: number): Part {
  const messages: Message[] = []
  let torn = false
  for (const message of read) {
    if (message.sequence !== sequence) continue
    if ((message.flags & NLM_F.DUMP_INTR) !== 0) torn = true
    if (message.type === NLMSG.ERROR || message.type === NLMSG.DONE) return { messages, end: message, torn }
    messages.push(message)
  }
  return { messages, end: undefined, torn }
}

/** What an answer's last message says: its errno, 0 for success, and the kernel's own words (extended ACK). */
export function parseEnd({ type, flags, body }: Message): {
  readonly errno: number
  readonly words: string | undefined
} {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  const errno = body.length < 4 ? 0 : Math.abs(view.getInt32(0, true))
  if ((flags & NLM_F_ACK_TLVS) === 0 || errno === 0) return { errno, words: undefined }
  // The kernel sends back the request's header (NLM_F_CAPPED) or the whole request; at a dump's end nothing of it.
  const capped = (flags & NLM_F_CAPPED) !== 0
  const behind = type === NLMSG.DONE ? 4 : 4 + (capped ? HEADER : aligned(view.getUint32(4, true)))
  const words = textOf(parseAttributes(body.subarray(behind)).get(NLMSGERR_ATTR_MSG))
  return { errno, words }
}

// --- internal ---

const DECODER = new TextDecoder()
const HEADER = 16
const ATTRIBUTE = 4
const NLA_F_NESTED = 0x8000
const TYPE_MASK = 0x3fff
const NLM_F_CAPPED = 0x100
const NLM_F_ACK_TLVS = 0x200
const NLMSGERR_ATTR_MSG = 1

/** Throws when a length leads out of the bytes. */
function eachAttribute(bytes: Uint8Array, use: (type: number, from: number, to: number) => void): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at + ATTRIBUTE <= bytes.length; ) {
    const length = view.getUint16(at, true)
    if (length < ATTRIBUTE || at + length > bytes.length) throw new RangeError(`netlink attribute of ${length} bytes`)
    use(view.getUint16(at + 2, true) & TYPE_MASK, at + ATTRIBUTE, at + length)
    at += aligned(length)
  }
}

function aligned(length: number): number {
  return (length + 3) & ~3
}
