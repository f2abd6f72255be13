import type { Log } from "../../base/terms/log.ts"
import type { Service } from "../../host/systemd/service.ts"
import { type Interrupt, type Interrupts, sayingAtOnce, watchInterrupts } from "./interrupts.ts"
import { toldTo } from "./ownService.ts"
import { startTrace, type Trace } from "./trace.ts"
import { trapPluginExit } from "./trapPluginExit.ts"
import { startWatchdog, type Watchdog } from "./watchdog.ts"

// This room runs a plugin's code so that it can neither hold up, end nor outlive the VM it belongs to.

/** What this process runs a plugin's code with. */
export interface PluginHost {
  readonly interrupts: Interrupts
  readonly watchdog: Watchdog
  readonly trace: Trace
  /** Messages of the work: where it is on one VM, they name it. */
  readonly log: Log
  /** What hears how the run goes, where this process is a service. */
  readonly service?: Service | undefined
}

/** How a process that runs a plugin's code is interrupted. */
export interface HostOptions {
  /** Signals that do nothing. */
  readonly ignored?: readonly Interrupt[]
  /** Those of work that has begun before, which stay when the host is disposed of. */
  readonly interrupts?: Interrupts
  /** The service that this process is; it is disposed of with the host. */
  readonly service?: Service | undefined
}

/**
 * Prepares this process for a plugin's code, until it is disposed of: signals ask the run to end, the plugin cannot end the
 * process, and another thread watches that it does not block it.
 */
export function startPluginHost(
  log: Log,
  { ignored, interrupts: given, service }: HostOptions = {},
): PluginHost & Disposable {
  const interrupts = given ?? watchInterrupts(sayingAtOnce(log), ignored)
  const thread = startWatchdog(log)
  const watchdog = service === undefined ? thread : toldTo(service, thread)
  if (service !== undefined)
    interrupts.stop.addEventListener("abort", () => service.stopping("stopping"), { once: true })
  const release = trapPluginExit(interrupts)
  return {
    ...{ interrupts, watchdog, log, service },
    trace: startTrace(),
    [Symbol.dispose]() {
      release()
      watchdog.dispose()
      service?.[Symbol.dispose]()
      if (given === undefined) interrupts[Symbol.dispose]()
    },
  }
}

/** For a plugin whose code runs in another process: none can hold this one up or end it. Signals ask the run to end, but for those ignored. */
export function startCodelessHost(log: Log, ignored: readonly Interrupt[]): PluginHost & Disposable {
  const interrupts = watchInterrupts(sayingAtOnce(log), ignored)
  return { ...noPluginHost(log), interrupts, [Symbol.dispose]: () => interrupts[Symbol.dispose]() }
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
  guardFrom: (_what, _limit, work) => work(() => {}),
  allow: (_what, _limit, work) => work(),
  protect() {},
  noteEnd() {},
  release() {},
  dismiss() {},
  dispose() {},
}
