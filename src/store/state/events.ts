import * as v from "valibot"
import { O, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { writeAll } from "../../base/linux/content.ts"
import { openAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { failureSchema } from "../../base/terms/failureSchema.ts"
import { exitSchema, vmStateSchema } from "./vmState.ts"

/** A VM came into a state; the last one has how it ended. */
export const stateEventSchema = v.strictObject({
  atMs: v.number(),
  event: v.literal("state"),
  state: vmStateSchema,
  exit: v.optional(exitSchema),
})

/** A hook is over; `error`: it failed. */
export const hookEventSchema = v.strictObject({
  atMs: v.number(),
  event: v.literal("hook"),
  hook: v.string(),
  durationMs: v.number(),
  error: v.optional(failureSchema),
})

/** One line of events.jsonl, but for its time. */
export type VmEvent =
  | Omit<v.InferOutput<typeof stateEventSchema>, "atMs">
  | Omit<v.InferOutput<typeof hookEventSchema>, "atMs">

/** Appends one event with its time (milliseconds since 1970) to a VM's events.jsonl. */
export function appendEvent(path: string, event: VmEvent): void {
  const line = `${JSON.stringify({ atMs: Date.now(), ...event })}\n`
  withDescriptor(openAt(AT_FDCWD, path, O.WRONLY | O.CREAT | O.APPEND | O_NOFOLLOW, 0o600), (fd) =>
    writeAll(fd, new TextEncoder().encode(line)),
  )
}
