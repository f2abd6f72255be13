import { readdirSync } from "node:fs"
import { join } from "node:path"
import { O, O_NOFOLLOW } from "../base/linux/constants.ts"
import { unlessAbsent } from "../base/linux/errors.ts"
import { openAt, tryFlock, withDescriptor } from "../base/linux/files.ts"
import { AT_FDCWD } from "../base/linux/guards.ts"
import type { Failure } from "../base/terms/failure.ts"
import type { State } from "../store/state/open.ts"
import type { VmRecord } from "../store/state/records.ts"
import { requestOf } from "../vm/request.ts"
import { statusOf } from "../vm/status.ts"
import { isDetachedLog } from "./detach.ts"
import { listUnended } from "./end/unended.ts"

/**
 * Before the host goes down: has `stopAll` stop what there is, and once more what has come to light by then, until nothing is being
 * started in the background (a boot that was cut short leaves that), or a minute is over. Returns what failed.
 */
export async function shutDown(
  state: State,
  stopAll: () => Promise<Failure | undefined>,
): Promise<Failure | undefined> {
  const deadline = performance.now() + STARTS_MAX_MS
  for (;;) {
    const failure = await stopAll()
    if (failure !== undefined) return failure
    while (isStarting(state) && vmsToShutDown(state).length === 0) {
      if (performance.now() >= deadline) return undefined
      await Bun.sleep(POLL_MS)
    }
    if (vmsToShutDown(state).length === 0 || performance.now() >= deadline) return undefined
  }
}

/** The VMs that `banger system shutdown` stops: all that have not ended but services that are supervised, which systemd stops. */
export function vmsToShutDown(state: State): readonly VmRecord[] {
  return listUnended(state).filter(
    (record) => requestOf(record).service !== true || statusOf(state, record).supervisor === undefined,
  )
}

// --- internal ---

/** What starts without a record is waited for so long, in milliseconds. */
const STARTS_MAX_MS = 60_000

const POLL_MS = 50

/** Whether a banger in the background is on the way to its VM's record: until then its log lies beside the VMs, locked. */
function isStarting({ where }: State): boolean {
  const vms = join(where.state, "vms")
  const logs = (unlessAbsent(() => readdirSync(vms)) ?? []).filter(isDetachedLog)
  return logs.some((name) => {
    const open = () => openAt(AT_FDCWD, join(vms, name), O.RDONLY | O_NOFOLLOW | O.NONBLOCK)
    // It has become its VM's.
    return unlessAbsent(() => withDescriptor(open(), (fd) => !tryFlock(fd))) ?? false
  })
}
