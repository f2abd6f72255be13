// D-Bus messages, as far as one call and its answer need them (the D-Bus specification, "Message Protocol"). Pure.

/** A value with its type. */
export type Variant =
  | { readonly is: "s"; readonly value: string }
  | { readonly is: "as"; readonly value: readonly string[] }
  | { readonly is: "au"; readonly value: readonly number[] }
  | { readonly is: "t"; readonly value: bigint }

/** A call of one of systemd's methods (org.freedesktop.systemd1(5)). */
export interface Call {
  readonly serial: number
  readonly path: string
  readonly interface: string
  readonly member: string
}

/** The call that starts a unit with these properties: StartTransientUnit of the manager. */
export function packStartTransientUnit(
  serial: number,
  name: string,
  properties: readonly (readonly [name: string, value: Variant])[],
): Uint8Array {
  const body = writer()
  body.string(name)
  body.string("fail")
  body.array(8, () => {
    for (const [property, value] of properties) {
      body.align(8)
      body.string(property)
      body.variant(value)
    }
  })
  // No auxiliary units.
  body.array(8, () => {})
  return packCall(
    {
      serial,
      path: "/org/freedesktop/systemd1",
      interface: "org.freedesktop.systemd1.Manager",
      member: "StartTransientUnit",
    },
    { signature: "ssa(sv)a(sa(sv))", body: body.bytes() },
  )
}

/** What a peer has answered. */
export interface Answer {
  /** The call that it answers; undefined of a signal, or a call of its own. */
  readonly to: number | undefined
  readonly error: { readonly name: string; readonly text: string } | undefined
}

/**
 * Takes the first message of what a peer has sent: with the bytes that it has. Undefined until it is whole. Throws an Error when it
 * is none, or larger than `ANSWER_MAX_BYTES`.
 */
export function takeAnswer(bytes: Uint8Array): { readonly answer: Answer; readonly length: number } | undefined {
  if (bytes.length < FIXED_BYTES) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const [order, type, , version] = bytes
  if ((order !== LITTLE && order !== BIG) || version !== 1) throw new Error("it does not speak D-Bus")
  const little = order === LITTLE
  const bodyAt = align(FIXED_BYTES + view.getUint32(12, little), 8)
  const length = bodyAt + view.getUint32(4, little)
  if (length > ANSWER_MAX_BYTES) throw new Error("it sends too much")
  if (bytes.length < length) return undefined
  const { to, name } = fieldsOf(new DataView(view.buffer, view.byteOffset, length), little)
  if (type !== RETURN && type !== ERROR) return { answer: { to: undefined, error: undefined }, length }
  if (type === RETURN) return { answer: { to, error: undefined }, length }
  const text = length > bodyAt ? stringAt(new DataView(view.buffer, view.byteOffset, length), bodyAt, little) : ""
  return { answer: { to, error: { name: name ?? "an error", text } }, length }
}

/** No answer to a call of ours is as large, in bytes. */
export const ANSWER_MAX_BYTES = 64 * 1024

// --- internal ---

const LITTLE = "l".charCodeAt(0)
const BIG = "B".charCodeAt(0)
const [CALL, RETURN, ERROR] = [1, 2, 3]

/** Of the header, before its list of fields ends: order, type, flags, version, two numbers, the list's length. */
const FIXED_BYTES = 16

const FIELD = { path: 1, interface: 2, member: 3, error: 4, to: 5, destination: 6, signature: 8 } as const

function packCall(
  { serial, path, interface: of, member }: Call,
  { signature, body }: { readonly signature: string; readonly body: Uint8Array },
): Uint8Array {
  const header = writer()
  header.raw([LITTLE, CALL, 0, 1])
  header.u32(body.length)
  header.u32(serial)
  header.array(8, () => {
    const field = (code: number, type: string, write: () => void) => {
      header.align(8)
      header.raw([code])
      header.signature(type)
      write()
    }
    field(FIELD.path, "o", () => header.string(path))
    field(FIELD.interface, "s", () => header.string(of))
    field(FIELD.member, "s", () => header.string(member))
    field(FIELD.destination, "s", () => header.string("org.freedesktop.systemd1"))
    field(FIELD.signature, "g", () => header.signature(signature))
  })
  header.align(8)
  return Buffer.concat([header.bytes(), body])
}

function writer() {
  const out: number[] = []
  const u32 = (value: number) => {
    while (out.length % 4 !== 0) out.push(0)
    for (let shift = 0; shift < 32; shift += 8) out.push((value >>> shift) & 0xff)
  }
  const self = {
    raw: (bytes: readonly number[]) => void out.push(...bytes),
    align(to: number) {
      while (out.length % to !== 0) out.push(0)
    },
    u32,
    string(text: string) {
      const bytes = new TextEncoder().encode(text)
      u32(bytes.length)
      out.push(...bytes, 0)
    },
    signature: (text: string) => void out.push(text.length, ...new TextEncoder().encode(text), 0),
    /** The length counts from the first element, after what that is aligned to. */
    array(alignment: number, write: () => void) {
      u32(0)
      const at = out.length - 4
      self.align(alignment)
      const from = out.length
      write()
      const length = out.length - from
      for (let index = 0; index < 4; index++) out[at + index] = (length >>> (8 * index)) & 0xff
    },
    variant({ is, value }: Variant) {
      self.signature(is)
      if (is === "s") self.string(value)
      else if (is === "t") {
        self.align(8)
        u32(Number(value & 0xffff_ffffn))
        u32(Number(value >> 32n))
      } else if (is === "as") self.array(4, () => value.forEach(self.string))
      else self.array(4, () => value.forEach(u32))
    },
    bytes: () => Uint8Array.from(out),
  }
  return self
}

function align(at: number, to: number): number {
  return Math.ceil(at / to) * to
}

/** The fields of a header that matter here; those of types that none of them has end the search. Reads past the end throw. */
function fieldsOf(view: DataView, little: boolean): { to: number | undefined; name: string | undefined } {
  const end = FIXED_BYTES + view.getUint32(12, little)
  let to: number | undefined
  let name: string | undefined
  for (let at = FIXED_BYTES; at < end; ) {
    at = align(at, 8)
    const code = view.getUint8(at)
    const length = view.getUint8(at + 1)
    const type = String.fromCharCode(view.getUint8(at + 2))
    if (length !== 1) break
    at += 4
    if (type === "u") {
      at = align(at, 4)
      if (code === FIELD.to) to = view.getUint32(at, little)
      at += 4
    } else if (type === "s" || type === "o") {
      at = align(at, 4)
      if (code === FIELD.error) name = stringAt(view, at, little)
      at += 4 + view.getUint32(at, little) + 1
    } else if (type === "g") at += 1 + view.getUint8(at) + 1
    else break
  }
  return { to, name }
}

/** Of a text of a peer's, so many bytes are told. */
const TEXT_MAX_BYTES = 200

function stringAt(view: DataView, at: number, little: boolean): string {
  const length = Math.min(view.getUint32(at, little), TEXT_MAX_BYTES, view.byteLength - at - 4)
  return new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset + at + 4, Math.max(0, length)))
}
