import type { Exit } from "banger"
import type { Failure } from "../terms/failure.ts"

/** What is known of a run at its end. */
export interface Ended {
  readonly id: string
  readonly name: string
  readonly exit: Exit
  readonly failure: Failure | undefined
  readonly kept: boolean
  /** The directory with the VM's logs. */
  readonly dir: string
}

/** What `banger run --json` prints. */
export function resultJson({ id, name, exit, failure, kept, dir }: Ended): string {
  const state = failure === undefined ? "stopped" : "failed"
  const error = failure === undefined ? undefined : { message: failure.message, hint: failure.hint }
  return JSON.stringify({ id, name, state, exit, kept, dir, error }, null, 2)
}
