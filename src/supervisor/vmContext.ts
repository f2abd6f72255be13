import type { Exit } from "banger"
import type { Failure } from "../base/terms/failure.ts"
import type { Log } from "../base/terms/log.ts"
import type { Vmm } from "../host/vmm/vmm.ts"
import type { ResolvedPlugin } from "../inputs/plugin/resolved.ts"
import type { Session } from "../vm/session.ts"

/** What a VM is to the process that acts on it; `PluginHost` is what it runs the plugin's code with. */
export interface VmContext {
  readonly session: Session
  /** Its spec, and its hooks. */
  readonly plugin: ResolvedPlugin
  /** The words that its hooks are given. */
  readonly args: readonly string[]
  readonly vmm: Vmm
  /** Messages about this VM. */
  readonly log: Log
}

/** How a supervised run went. */
export interface RunOutcome {
  readonly exit: Exit
  /** Why the run failed, although the VM may have an exit; undefined when it did not fail. */
  readonly failure: Failure | undefined
  /** Whether everything was left in place for inspection. */
  readonly kept: boolean
  /** What could not be released, and stays on the journal. */
  readonly unreleased?: Failure | undefined
}
