import { monotonicMs } from "../base/linux/clock.ts"
import type { Spec } from "../inputs/schema/vm.ts"
import type { VmRecord } from "../store/state/records.ts"
import type { Restarts } from "./rest/words.ts"
import type { RunOutcome } from "./vmContext.ts"

/** The wait before a restart doubles up to this many milliseconds. */
const LONGEST_WAIT_MS = 5 * 60_000

/** A VM that ran this long, in milliseconds, has not failed to start: the count of restarts begins anew. */
const SETTLED_AFTER_MS = 60_000

/** Whether a VM's supervisor, if it has one, may boot it again after its end. */
export function mayRestart({ spec }: Pick<VmRecord, "spec">): boolean {
  try {
    const { restart } = JSON.parse(spec)
    return restart !== undefined && restart !== "no" && restart?.policy !== "no"
  } catch {
    // A record that cannot be read: whoever supervises the VM read it when it could.
    return false
  }
}

/** Decides after each end of a VM whether it is booted again. */
export interface RestartPolicy {
  /** The milliseconds to wait, or undefined when it is not to be booted again. `now` is for tests. */
  next(outcome: Pick<RunOutcome, "failure" | "exit">, now?: number): number | undefined
  /** What was counted by now, for another policy of the same VM to go on from. */
  restarts(): Restarts
}

/**
 * Counts the restarts of one VM: at most `limit` in a row, each after twice the wait of the one before, unless the VM ran
 * for a minute. One whose end banger was asked for is never booted again.
 */
export function restartPolicy(
  { policy, limit, delay }: Spec["restart"],
  before: Restarts = { count: 0, since: monotonicMs() },
): RestartPolicy {
  let { count, since } = before
  return {
    restarts: () => ({ count, since }),
    next({ failure, exit }, now = monotonicMs()) {
      if (policy === "no" || exit.requested) return undefined
      if (policy === "on-failure" && failure === undefined) return undefined
      if (now - since >= SETTLED_AFTER_MS) count = 0
      if (count >= limit) return undefined
      const wait = Math.min(delay * 2 ** count++, LONGEST_WAIT_MS)
      since = now + wait
      return wait
    },
  }
}
