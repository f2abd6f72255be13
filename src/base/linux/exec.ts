import { ptr } from "bun:ffi"
import { descriptor, fixed } from "./guards.ts"
import { checked, libc, rawSyscall } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"

/** A program that is to take the place of this one. */
export interface Program {
  /** An absolute path. */
  readonly path: string
  /** Its words; the first is what ps(1) shows as its name. */
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
}

/**
 * Makes this process run another program: same pid, same children, same locks; descriptors stay open as `keepOnExec` and
 * O_CLOEXEC say, signals that are held back stay so (execve(2)). Returns never; throws when the kernel refuses, and then
 * nothing has changed.
 */
export function replaceProgram({ path, argv, env }: Program): never {
  const pairs = Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]))
  const [file, words, variables] = [packString(path), packStrings(argv), packStrings(pairs)]
  rawSyscall("execve", syscallNumber("execve"), [file, words.list, variables.list], path)
  throw new Error(`execve of ${path} returned`)
}

/**
 * From now on just these descriptors, and the three standard ones, stay open when this process runs another program
 * (close_range(2) with CLOSE_RANGE_CLOEXEC, Linux 5.11; fcntl(2), F_SETFD).
 */
export function keepOnExec(fds: readonly number[]): void {
  rawSyscall("close_range", syscallNumber("close_range"), [FIRST_OTHER, LAST, CLOSE_RANGE_CLOEXEC])
  for (const fd of fds) checked("fcntl(F_SETFD)", () => libc.fcntl(descriptor(fd), F_SETFD, null), `fd ${fd}`)
}

/** A C string at a fixed address. Throws on a NUL inside, where C would silently cut it. */
export function packString(text: string): Uint8Array {
  if (text.includes("\0")) throw new TypeError(`it has a NUL character: ${text}`)
  const bytes = new TextEncoder().encode(text)
  const packed = fixed(bytes.length + 1)
  packed.set(bytes)
  return packed
}

// --- internal ---

const F_SETFD = 2
const FIRST_OTHER = 3
const LAST = 0xffff_ffff
const CLOSE_RANGE_CLOEXEC = 4

/** A list of C strings that ends with NULL; `strings` is what it points into. */
function packStrings(texts: readonly string[]): { list: Uint8Array; strings: readonly Uint8Array[] } {
  const strings = texts.map(packString)
  const list = fixed(8 * (strings.length + 1))
  const view = new DataView(list.buffer)
  for (const [index, string] of strings.entries()) view.setBigUint64(8 * index, BigInt(ptr(string)), true)
  return { list, strings }
}
