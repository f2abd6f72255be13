import { ptr } from "bun:ffi"
import { packString } from "./exec.ts"
import { fixed } from "./guards.ts"
import { type SyscallName, syscallNumber } from "./numbers.ts"

/** An argument of a system call: a number, or what it is given the address of: bytes, a C string, a list of C strings. */
export type Argument = number | Uint8Array | string | readonly string[]

/** A system call with at most six arguments. */
export interface Call {
  readonly name: SyscallName
  readonly args: readonly Argument[]
  /** How often it is made, each time with a first argument that is greater by one. Default: once. */
  readonly times?: number
}

/** Words of 8 bytes that describe one system call: its number and six arguments. */
const CALL_WORDS_COUNT = 7

/** A table of system calls for `runInChild`, and behind it, in the same memory, all that their arguments point to. */
export function packCalls(calls: readonly Call[]): Uint8Array<ArrayBuffer> {
  const parts: { readonly bytes: Uint8Array; readonly at: number }[] = []
  let length = 8 * CALL_WORDS_COUNT * calls.length
  const put = (bytes: Uint8Array) => {
    const at = length
    parts.push({ bytes, at })
    // The next one begins at a whole word.
    length += (bytes.length + 7) & ~7
    return { at }
  }
  const place = (argument: Argument): number | Pointer => {
    if (typeof argument === "number") return argument
    if (typeof argument === "string") return put(packString(argument))
    if (argument instanceof Uint8Array) return put(argument)
    const strings = argument.map(place)
    const list = put(new Uint8Array(8 * (strings.length + 1)))
    lists.push({ at: list.at, words: strings })
    return list
  }
  const lists: { readonly at: number; readonly words: readonly (number | Pointer)[] }[] = []
  for (const [index, { name, args, times = 1 }] of calls.entries()) {
    if (args.length >= CALL_WORDS_COUNT) throw new RangeError(`${name} with ${args.length} arguments`)
    // In the upper half of the number, how often to make it again.
    const number = syscallNumber(name) + (times - 1) * 2 ** 32
    lists.push({ at: 8 * CALL_WORDS_COUNT * index, words: [number, ...args.map(place)] })
  }
  const block = fixed(length)
  for (const { bytes, at } of parts) block.set(bytes, at)
  const address = ptr(block)
  const view = new Uint32Array(block.buffer)
  for (const { at, words } of lists)
    for (const [index, word] of words.entries())
      setWord(view, at / 8 + index, typeof word === "number" ? word : address + word.at)
  return block
}

/** Which call of a table has failed in the child, and its negative errno; undefined when none has. */
export function failedCall(
  { buffer }: Uint8Array<ArrayBuffer>,
  calls: readonly Call[],
): { readonly name: SyscallName; readonly negative: number } | undefined {
  const view = new Int32Array(buffer)
  for (const [index, { name }] of calls.entries()) {
    const negative = view[2 * CALL_WORDS_COUNT * index] ?? 0
    if (negative < 0) return { name, negative }
  }
  return undefined
}

// --- internal ---

/** The place of something in the memory of a table. */
interface Pointer {
  readonly at: number
}

/** Two halves: a bigint for each word would take longer than the start of the child. */
function setWord(view: Uint32Array, index: number, value: number): void {
  view[2 * index] = value
  view[2 * index + 1] = value / 2 ** 32
}
