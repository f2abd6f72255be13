import type { Log } from "../../base/terms/log.ts"
import { type Interrupt, type Interrupts, watchInterrupts } from "./interrupts.ts"
import { startTrace, type Trace } from "./trace.ts"
import { trapPluginExit } from "./trapPluginExit.ts"
import { startWatchdog, type Watchdog } from "./watchdog.ts"

// This room runs a plugin's code so that it can neither hold up, end nor outlive the VM it belongs to.

/** What this process runs a plugin's code with. */
export interface PluginHost {
  readonly interrupts: Interrupts
  readonly watchdog: Watchdog
  readonly trace: Trace
  /** Messages of the work as a whole. */
  readonly log: Log
}

/**
 * Prepares this process for a plugin's code, until it is disposed of: signals ask the run to end (those `ignored` do
 * nothing), the plugin cannot end the process, and another thread watches that it does not block it.
 */
export function startPluginHost(log: Log, options: { ignored?: readonly Interrupt[] } = {}): PluginHost & Disposable {
  const onPress = (count: number) => {
    if (count === 2) log.warn("stopping at once")
  }
  const interrupts = watchInterrupts(onPress, options.ignored)
  const watchdog = startWatchdog(log)
  const release = trapPluginExit(interrupts)
  return {
    ...{ interrupts, watchdog, log },
    trace: startTrace(),
    [Symbol.dispose]() {
      release()
      watchdog.dispose()
      interrupts[Symbol.dispose]()
    },
  }
}

/** For work without hooks: no plugin's code can hold it up, and signals end this process as ever. */
export function noPluginHost(log: Log): PluginHost {
  return { interrupts: UNASKED, trace: startTrace(), watchdog: UNWATCHED, log }
}

// --- internal ---

const never = new AbortController().signal

const UNASKED: Interrupts = {
  stop: never,
  force: never,
  next: () => never,
  press() {},
  fail() {},
  failure: () => undefined,
  exitCode: () => undefined,
  [Symbol.dispose]() {},
}

const UNWATCHED: Watchdog = {
  guard: (_what, _limit, work) => work(),
  protect() {},
  noteEnd() {},
  release() {},
  dispose() {},
}
