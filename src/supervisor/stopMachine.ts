import { messageOf } from "../base/terms/failure.ts"
import type { Log } from "../base/terms/log.ts"
import { formatDuration } from "../base/terms/quantity.ts"
import { SIGKILL } from "../host/process/spawn.ts"
import type { Machine } from "../vm/machine.ts"

/** Ctrl-Alt-Del is pressed again after this many milliseconds: a guest that still boots loses what comes too early. */
const PRESS_AGAIN_MS = 2000

/** Who waits longer than this many milliseconds for a guest is told so. */
const PATIENCE_MS = 1000

/** How a VM is ended. */
export interface StopOptions {
  /** Milliseconds for the guest to stop itself. */
  readonly limit: number
  /** Aborted when the VM is to be killed at once. */
  readonly force: AbortSignal
  readonly log: Log
}

/**
 * Ends a running VM: Ctrl-Alt-Del, up to `limit` milliseconds for the guest, then SIGKILL. Resolves when the VMM has gone;
 * never throws because of the guest.
 */
export async function stopMachine(machine: Machine, options: StopOptions): Promise<void> {
  const { force, log } = options
  if (machine.control.pressCtrlAltDel === undefined) {
    const why = machine.control.unreachable ?? "this VMM has no Ctrl-Alt-Del on this processor"
    log.warn(`${why}: killing it; stop the guest from inside to keep its disks whole`)
  } else if (!force.aborted && (await stoppedItself(machine, options))) return
  machine.child.signal(SIGKILL)
  await machine.gone
}

// --- internal ---

async function stoppedItself(machine: Machine, { limit, force, log }: StopOptions): Promise<boolean> {
  const { promise: cut, resolve } = Promise.withResolvers<false>()
  const timer = setTimeout(() => {
    log.warn(`the guest did not stop in ${formatDuration(limit)} after Ctrl-Alt-Del: killing it`)
    resolve(false)
  }, limit)
  const onForce = () => resolve(false)
  force.addEventListener("abort", onForce, { once: true })
  const again = setInterval(() => press(machine, log), PRESS_AGAIN_MS)
  // Most guests are faster, and then there is nothing to tell.
  const told = setTimeout(() => {
    const how = "to end it at once: banger kill, or Ctrl-C again"
    log.info(`waiting for the guest to stop, up to ${formatDuration(limit)}; ${how}`)
  }, PATIENCE_MS)
  try {
    press(machine, log)
    return await Promise.race([machine.gone.then(() => true), cut])
  } finally {
    clearTimeout(timer)
    clearInterval(again)
    clearTimeout(told)
    force.removeEventListener("abort", onForce)
  }
}

/** After a refusal the wait is as long: the guest may be ending by itself. */
function press(machine: Machine, log: Log): void {
  machine.control.pressCtrlAltDel?.().catch((error: unknown) => log.debug(`Ctrl-Alt-Del: ${messageOf(error)}`))
}
