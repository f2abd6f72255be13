import { type Pointer, toArrayBuffer } from "bun:ffi"
import { rawSyscall } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"

/**
 * The address of code for this machine's processor, in memory of its own that nothing can write any more, as long as this process
 * lives. The kernel makes it visible to the processor (mprotect(2)). Throws where the kernel gives no memory to run code in.
 */
export function mapCode(code: Uint8Array): Pointer {
  const mapping = [0, code.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0]
  const address = rawSyscall("mmap", syscallNumber("mmap"), mapping) as Pointer
  new Uint8Array(toArrayBuffer(address, 0, code.length)).set(code)
  rawSyscall("mprotect", syscallNumber("mprotect"), [address, code.length, PROT_READ | PROT_EXEC])
  return address
}

// --- internal ---

const [PROT_READ, PROT_WRITE, PROT_EXEC] = [1, 2, 4]
const MAP_PRIVATE = 2
const MAP_ANONYMOUS = 0x20
