import * as v from "valibot"

/** What is known of whether a process or a VM runs: in code and in JSON. "unknown" is said as "cannot tell". */
export const livenessSchema = v.picklist(["alive", "dead", "unknown"])

export type Liveness = v.InferOutput<typeof livenessSchema>

/** It runs not, and that is proven. */
export interface Dead {
  readonly is: Extract<Liveness, "dead">
  readonly why: string
}

/** Something could not be read, or cannot be read from here: nothing may be adopted, killed or removed. */
export interface Unknown {
  readonly is: Extract<Liveness, "unknown">
  /** Goes behind "cannot tell whether it runs: ". */
  readonly why: string
  readonly hint?: string | undefined
}

/** An answer about a process or a VM, with what is known of one that is proven to run. */
export type LivenessAnswer<Alive extends object> =
  | ({ readonly is: Extract<Liveness, "alive"> } & Alive)
  | Dead
  | Unknown
