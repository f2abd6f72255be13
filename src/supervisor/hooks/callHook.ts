import type { Hooks } from "banger"
import { withPlace } from "../../base/terms/compiled.ts"
import { Failure, isFailure, messageOf } from "../../base/terms/failure.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import type { Definition, HookName } from "../../inputs/plugin/definition.ts"

/** How hooks are run: their limit in milliseconds, and what interrupts them early. */
export interface HookLimits {
  readonly limit: number
  readonly interrupt: AbortSignal
}

/** `pre…` hooks of several plugins run in order, `post…` hooks in reverse. */
export function inOrder(definition: Definition, name: HookName): readonly Hooks[] {
  const chain = definition.hooks.filter((hooks) => hooks[name] !== undefined)
  return name.startsWith("post") ? chain.toReversed() : chain
}

/**
 * Runs one hook with its time limit. The signal given to it is aborted when its time is up or the run is interrupted,
 * and then the hook is no longer waited for. Throws a failure that names the hook: TIMED_OUT, or HOOK_FAILED.
 */
export async function runHook<T>(
  name: HookName,
  limits: HookLimits,
  run: (signal: AbortSignal) => T,
): Promise<Awaited<T>> {
  const controller = new AbortController()
  const { promise: cut, reject } = Promise.withResolvers<never>()
  let cutBy: Failure | undefined
  const giveUp = (failure: Failure) => {
    cutBy = failure
    controller.abort(failure)
    reject(failure)
  }
  const onInterrupt = () => giveUp(new Failure("HOOK_FAILED", `${name} was interrupted`, { subject: name }))
  const onLate = () => {
    const hint = `give it more time: timeouts: { ${name}: "5m" }`
    giveUp(
      new Failure("TIMED_OUT", `${name} did not finish in ${formatDuration(limits.limit)}`, { hint, subject: name }),
    )
  }
  const timer = setTimeout(onLate, limits.limit)
  limits.interrupt.addEventListener("abort", onInterrupt, { once: true })
  try {
    if (limits.interrupt.aborted) onInterrupt()
    // A hook that throws at once must look like one that rejects.
    const work = (async () => await run(controller.signal))()
    // When the hook is abandoned its own failure has nobody left to hear it.
    work.catch(() => {})
    return await Promise.race([cut, work])
  } catch (error) {
    if (error === cutBy) throw error
    const hint = isFailure(error) ? error.hint : undefined
    const message = withPlace(error, `${name} threw: ${messageOf(error)}`)
    throw new Failure("HOOK_FAILED", message, { hint, cause: error, subject: name })
  } finally {
    clearTimeout(timer)
    limits.interrupt.removeEventListener("abort", onInterrupt)
  }
}
