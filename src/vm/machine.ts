import type { Child } from "../host/process/spawn.ts"
import type { Control } from "../host/vmm/vmm.ts"

/** A VMM that was started or adopted. */
export interface Machine {
  readonly child: Child
  readonly control: Control
  /** Resolves when it has exited and all that it wrote is in its logs; never rejects. */
  readonly gone: Promise<void>
  /** Once, after its exit: shows what a slow reader has not taken yet, until `enough`. Tells whether that was all. */
  showRest(enough: AbortSignal): Promise<boolean>
}

/** How many bytes are kept of the VMM's standard error, and of each log of its own. */
export const VMM_LOG_MAX_BYTES = 1024 * 1024
