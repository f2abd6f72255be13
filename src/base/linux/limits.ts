import { errorCode } from "./errors.ts"
import { fixed } from "./guards.ts"
import { rawSyscall } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"

/** No limit (RLIM_INFINITY). */
export const UNLIMITED = 0xffff_ffff_ffff_ffffn

/** Gives this process, and what it starts, a limit (prlimit(2)); the resources are asm-generic/resource.h's. EPERM above the hard one. */
export function setLimit(resource: number, soft: bigint, hard: bigint): void {
  const limit = new Uint8Array(new BigUint64Array([soft, hard]).buffer)
  rawSyscall("prlimit64", syscallNumber("prlimit64"), [0, resource, limit, 0])
}

/**
 * Lets this process, and what it starts, write files of any size (RLIMIT_FSIZE), or of as many bytes as its hard limit has, which is
 * returned then: only root is above that.
 */
export function liftFileSize(): number | undefined {
  const [soft, hard] = limitOf(FSIZE)
  if (soft === UNLIMITED) return undefined
  try {
    setLimit(FSIZE, UNLIMITED, UNLIMITED)
    return undefined
  } catch (error) {
    if (errorCode(error) !== "EPERM") throw error
    setLimit(FSIZE, hard, hard)
    return hard === UNLIMITED ? undefined : Number(hard)
  }
}

// --- internal ---

const FSIZE = 1

function limitOf(resource: number): readonly [soft: bigint, hard: bigint] {
  const limit = fixed(16)
  rawSyscall("prlimit64", syscallNumber("prlimit64"), [0, resource, 0, limit])
  const [soft = UNLIMITED, hard = UNLIMITED] = new BigUint64Array(limit.buffer)
  return [soft, hard]
}
