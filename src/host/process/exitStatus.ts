import { readFileSync } from "node:fs"
import { SIGNALS } from "../../base/linux/names.ts"
import type { ProcessIdentity } from "../../store/state/handles.ts"
import type { PidRef } from "./pidRef.ts"
import { parseZombieStatus } from "./procfs.ts"

/** How a process ended: an exit code, or the signal that ended it. */
export interface ExitStatus {
  readonly code: number | null
  readonly signal: string | null
}

/** How often to look for a status, and with what pause: its parent may not have waited for it yet. */
const TRIES_MAX_COUNT = 20
const RETRY_MS = 10

/**
 * How a process that is no child of ours has ended: by its pidfd once its parent has waited for it (Linux 6.15), or by
 * /proc before that. Undefined where neither tells.
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

/** As `exitStatusOf`, of a process that has exited and that its parent has not waited for, by /proc alone; undefined for any other. */
export function exitStatusOfZombie({ pid, startTime }: ProcessIdentity): ExitStatus | undefined {
  const status = parseZombieStatus(statOf(pid), startTime)
  return status === undefined ? undefined : decodeStatus(status)
}

/** What a status of wait(2) means. Pure. */
export function decodeStatus(status: number): ExitStatus {
  const number = status & 0x7f
  if (number === 0) return { code: (status >> 8) & 0xff, signal: null }
  return { code: null, signal: SIGNALS[number] ?? `signal ${number}` }
}

// --- internal ---

function statOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, "latin1")
  } catch {
    // Its parent has waited for it: now only the pidfd can tell.
    return ""
  }
}
