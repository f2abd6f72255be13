import type { Log } from "../base/terms/log.ts"
import { type Interrupts, sayingAtOnce, watchInterrupts } from "../supervisor/hooks/interrupts.ts"
import type { PluginHost } from "../supervisor/hooks/pluginHost.ts"

/** This process, as it waits for the ends of VMs: signals end the wait. */
export interface Stopper {
  readonly interrupts: Interrupts
  readonly log: Log
  /** What it runs hooks with, of a VM that it stops itself; started when it is first asked for. */
  pluginHost(): Promise<PluginHost>
}

/**
 * Starts to wait, until it is disposed of. Most stops only ask a supervisor: what runs hooks is loaded and started when a
 * VM has none, and then stays to the end, since what a plugin has begun may still fail later.
 */
export function startStopper(log: Log): Stopper & Disposable {
  const interrupts = watchInterrupts(sayingAtOnce(log))
  let host: (PluginHost & Disposable) | undefined
  return {
    interrupts,
    log,
    async pluginHost() {
      const { startPluginHost } = await import("../supervisor/hooks/pluginHost.ts")
      // One count of signals: the first must not be missed by what is loaded just then.
      host ??= startPluginHost(log, { interrupts })
      return host
    },
    [Symbol.dispose]() {
      host?.[Symbol.dispose]()
      interrupts[Symbol.dispose]()
    },
  }
}
