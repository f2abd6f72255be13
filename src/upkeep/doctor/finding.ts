import * as v from "valibot"

// This room checks whether a host can run VMs. Its rule: a check is a function of a Host, changes nothing, and says what it
// found and what mends it; one that cannot find out is `unknown`.

/** How well a host does, worst first. `unknown`: it could not be found out, and `says` tells why. */
export const GRADES = ["fail", "warn", "unknown", "ok"] as const

const findingSchema = v.strictObject({
  is: v.picklist(GRADES),
  /** What was found, and what follows from it. */
  says: v.string(),
  /** The command, or the step, that mends it. */
  hint: v.optional(v.string()),
})

/** What `doctor --json` prints: the worst grade of all, and each check's finding. */
export const examinationSchema = v.strictObject({
  is: v.picklist(GRADES),
  checks: v.array(v.strictObject({ id: v.string(), ...findingSchema.entries })),
})

export type Grade = (typeof GRADES)[number]
/** What a check found. */
export type Finding = Readonly<v.InferOutput<typeof findingSchema>>
/** What `doctor` found. */
export type Examination = v.InferOutput<typeof examinationSchema>
/** A finding with the check that made it. */
export type Checked = Readonly<Examination["checks"][number]>

/** All findings as one: as bad as the worst. */
export function examinationOf(checks: readonly Checked[]): Examination {
  return { is: GRADES.find((grade) => checks.some(({ is }) => is === grade)) ?? "ok", checks: [...checks] }
}

export function ok(says: string): Finding {
  return { is: "ok", says }
}

export function warn(says: string, hint?: string): Finding {
  return { is: "warn", says, hint }
}

export function fail(says: string, hint?: string): Finding {
  return { is: "fail", says, hint }
}

export function unknown(says: string, hint?: string): Finding {
  return { is: "unknown", says, hint }
}
