import type { Hooks } from "banger"
import { Failure, reason } from "../../base/terms/failure.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import type { Definition, HookName } from "../../inputs/plugin/definition.ts"

/** How hooks are run: their limit in milliseconds, and what interrupts them early. */
export interface HookLimits {
  readonly limit: number
  readonly interrupt: AbortSignal
}

/** A hook that did not do its work: threw, ran out of time, or was interrupted. */
export class HookFailure extends Failure {}

/** `pre…` hooks of several plugins run in order, `post…` hooks in reverse. */
export function inOrder(definition: Definition, name: HookName): readonly Hooks[] {
  const chain = definition.hooks.filter((hooks) => hooks[name] !== undefined)
  return name.startsWith("post") ? chain.toReversed() : chain
}

/**
 * Runs one hook with its time limit. The signal given to it is aborted when its time is up or the run is interrupted,
 * and then the hook is no longer waited for. Throws a `HookFailure` that names the hook.
 */
export async function runHook<T>(
  name: HookName,
  limits: HookLimits,
  run: (signal: AbortSignal) => T,
): Promise<Awaited<T>> {
  const controller = new AbortController()
  const { promise: cut, reject } = Promise.withResolvers<never>()
  const abandon = (why: string) => {
    controller.abort(new Failure(why))
    reject(new HookFailure(why))
  }
  const onInterrupt = () => abandon(`${name} was interrupted`)
  const late = `${name} did not finish in ${formatDuration(limits.limit)}`
  const timer = setTimeout(() => abandon(late), limits.limit)
  limits.interrupt.addEventListener("abort", onInterrupt, { once: true })
  try {
    if (limits.interrupt.aborted) onInterrupt()
    // A hook that throws at once must look like one that rejects.
    const work = (async () => await run(controller.signal))()
    // When the hook is abandoned its own failure has nobody left to hear it.
    work.catch(() => {})
    return await Promise.race([cut, work])
  } catch (error) {
    throw error instanceof HookFailure ? error : new HookFailure(`${name} threw: ${reason(error)}`, { cause: error })
  } finally {
    clearTimeout(timer)
    limits.interrupt.removeEventListener("abort", onInterrupt)
  }
}
