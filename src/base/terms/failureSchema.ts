import * as v from "valibot"
import { EXIT_OF, type FailureCode, type FailureJson } from "./failure.ts"

const CODES = Object.keys(EXIT_OF) as [FailureCode, ...FailureCode[]]

/** A failure as `--json` has it: on standard error, and wherever a document tells of one. */
export const failureSchema = v.strictObject({
  code: v.picklist(CODES),
  message: v.string(),
  hint: v.optional(v.string()),
  subject: v.optional(v.string()),
  exit: v.number(),
  stack: v.optional(v.string()),
}) satisfies v.GenericSchema<FailureJson>

/** What a failing command prints under `--json`, on one line of standard error. */
export const errorSchema = v.strictObject({ error: failureSchema })
