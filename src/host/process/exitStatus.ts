import { readFileSync } from "node:fs"
import { constants } from "node:os"
import type { ProcessIdentity } from "../../store/state/handles.ts"
import type { PidRef } from "./pidRef.ts"
import { parseZombieStatus } from "./procfs.ts"

/** How a process ended: an exit code, or the signal that ended it. */
export interface ExitStatus {
  readonly code: number | null
  readonly signal: string | null
}

/** How often, and with how many milliseconds between, its parent is given to wait for it. */
const TRIES_MAX_COUNT = 20
const RETRY_MS = 10

/**
 * How a process has ended that was no child of ours: as its pidfd tells once its parent has waited for it (Linux 6.15),
 * or /proc before that. Undefined where neither does.
 */
export async function exitStatusOf(
  process: PidRef,
  { pid, startTime }: ProcessIdentity,
): Promise<ExitStatus | undefined> {
  for (let tries = 0; tries < TRIES_MAX_COUNT; tries++) {
    const status = process.exitStatus() ?? parseZombieStatus(statOf(pid), startTime)
    if (status !== undefined) return decodeStatus(status)
    await Bun.sleep(RETRY_MS)
  }
  return undefined
}

/** The words for wait(2)'s status. Pure. */
export function decodeStatus(status: number): ExitStatus {
  const number = status & 0x7f
  if (number === 0) return { code: (status >> 8) & 0xff, signal: null }
  const name = Object.entries(constants.signals).find(([, value]) => value === number)?.[0]
  return { code: null, signal: name ?? `signal ${number}` }
}

// --- internal ---

function statOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, "latin1")
  } catch {
    // It was waited for by now: the pidfd tells, if anything does.
    return ""
  }
}
