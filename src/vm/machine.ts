import type { Child } from "../host/process/spawn.ts"
import type { Control } from "../host/vmm/vmm.ts"

/** A VMM that was started. */
export interface Machine {
  readonly child: Child
  readonly control: Control
  /** Resolves when it has gone and all it wrote is in its logs; never rejects. */
  readonly gone: Promise<void>
  /** When it has gone, once: shows what a slow reader has not taken yet, until `enough`. Tells whether that was all. */
  showRest(enough: AbortSignal): Promise<boolean>
}

/** What the VMM says on standard error, and in logs of its own, is kept to this many bytes each. */
export const VMM_LOG_MAX_BYTES = 1024 * 1024
