import type { Exit, VmNetwork } from "banger"
import type { Failure } from "../base/terms/failure.ts"
import type { Log } from "../base/terms/log.ts"
import type { Program, Vmm } from "../host/vmm/vmm.ts"
import type { Sink } from "../store/logs/growing.ts"
import type { Machine } from "../vm/machine.ts"
import type { ConfinementPlan } from "./boot/confinement.ts"
import type { HookRunner } from "./hooks/runHooks.ts"

/** What watching over a VM needs, whoever started it. */
export interface VmContext extends HookRunner {
  readonly vmm: Vmm
  readonly log: Log
  readonly args: readonly string[]
  readonly keepOnFailure: boolean
  /** Whether the VM is to run on by itself once it is booted. */
  readonly leave: boolean
  /** The VM is running, as this process; what this returns is called when it no longer is. */
  readonly onRunning: (pid: number) => () => void
  /** The VM is running, and its postBoot hooks are done. */
  readonly onBooted: () => void
}

/** What one supervised run is given. */
export interface Supervision extends VmContext {
  readonly program: Program
  readonly confining: ConfinementPlan
  /** The directory of a snapshot to go on from. */
  readonly restore: string | undefined
  readonly onConsole: Sink
}

/** How a supervised run went. */
export interface RunOutcome {
  readonly exit: Exit
  /** Why the run failed although it may have an exit; undefined when it did not. */
  readonly failure: Failure | undefined
  /** Whether everything was left in place for inspection. */
  readonly kept: boolean
  /** What could not be given back, and stays on the journal. */
  readonly unreleased?: Failure | undefined
}

/** The VM runs on without a supervisor, as it was asked to. */
export type Left = "left"

/** What is alive of a run. */
export interface RunningVm {
  machine: Machine | undefined
  /** Whether its VMM has gone. */
  gone: boolean
  /** Whether banger asked the VM to end. */
  requested: boolean
  /** Where what was staged is now, as hooks see it. */
  dir: string
  /** How it ended, of a VM that did so while nobody watched. */
  lost?: Exit
  /** Its place in the network, once it has one. */
  network: VmNetwork | undefined
}
