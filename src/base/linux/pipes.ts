import { O } from "./constants.ts"
import { fixed } from "./guards.ts"
import { rawSyscall } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"

/** A pipe (pipe2(2)): the end that is read, and the one that is written. The caller closes both. */
export function makePipe(): readonly [number, number] {
  const ends = new Int32Array(fixed(8).buffer)
  rawSyscall("pipe2", syscallNumber("pipe2"), [new Uint8Array(ends.buffer), O.CLOEXEC])
  const [out = -1, into = -1] = ends
  return [out, into]
}
