import type { Log } from "../../base/terms/log.ts"
import { type Interrupts, watchInterrupts } from "./interrupts.ts"
import type { HookRunner } from "./runHooks.ts"
import { startTrace } from "./trace.ts"
import { trapPluginExit } from "./trapPluginExit.ts"
import { startWatchdog, type Watchdog } from "./watchdog.ts"

/** What goes with running a VM's hooks, besides the VM. */
export interface PluginHost extends Pick<HookRunner, "interrupts" | "trace" | "watchdog"> {
  readonly log: Log
}

/** Runs work on one VM with its plugin's hooks: signals but those `ignored` ask for its end, and plugin code is contained and watched. */
export async function withPluginHost<T>(
  log: Log,
  work: (tools: PluginHost) => Promise<T>,
  ignored: Parameters<typeof watchInterrupts>[1] = [],
): Promise<T> {
  const onPress = (count: number) => {
    if (count === 2) log.warn("stopping at once")
  }
  const interrupts = watchInterrupts(onPress, ignored)
  const watchdog = startWatchdog(log)
  const release = trapPluginExit(interrupts)
  try {
    return await work({ interrupts, watchdog, trace: startTrace(), log })
  } finally {
    release()
    watchdog.dispose()
    interrupts.dispose()
  }
}

/** For work on VMs without hooks: no code of a plugin can hold it up, and signals end this process as ever. */
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
  dispose() {},
}

const UNWATCHED: Watchdog = {
  guard: (_what, _limit, work) => work(),
  protect() {},
  noteEnd() {},
  release() {},
  dispose() {},
}
