import type { Log } from "../../base/terms/log.ts"
import { type Interrupts, sayingAtOnce, watchInterrupts } from "../../supervisor/hooks/interrupts.ts"
import type { PluginHost } from "../../supervisor/hooks/pluginHost.ts"

/** This process, as it waits for the ends of VMs: signals end the wait. */
export interface Stopper {
  readonly interrupts: Interrupts
  readonly log: Log
  /** Where the VM is one of many that end at a time. */
  readonly among?: Among
  /** What it runs hooks with, of a VM that it stops itself; started when it is first asked for. */
  pluginHost(): Promise<PluginHost>
}

/** One of many VMs that end at a time. */
export interface Among {
  /** How often to look in any case, in milliseconds. */
  readonly pollMs: number
  /** Only its guest is waited for: another VM may be worked on. */
  waits(): void
  /** Its supervisor was stopped itself, and may stay so: neither it nor its guest takes anything from another VM. */
  sleeps(): void
  /** Does what is asked in a process of its own, since that takes a plugin. Throws the failure that this ended with. */
  apart(id: string): Promise<void>
}

/**
 * Starts to wait, until it is disposed of. Most stops only ask a supervisor: what runs hooks is loaded and started when a
 * VM has none, and then stays to the end, since what a plugin has begun may still fail later. `shared`: the stopper of many VMs, which stays.
 */
export function startStopper(log: Log, shared?: Stopper): Stopper & Disposable {
  if (shared !== undefined) return { ...shared, log, [Symbol.dispose]() {} }
  const interrupts = watchInterrupts(sayingAtOnce(log))
  let host: (PluginHost & Disposable) | undefined
  return {
    interrupts,
    log,
    async pluginHost() {
      const { startPluginHost } = await import("../../supervisor/hooks/pluginHost.ts")
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
