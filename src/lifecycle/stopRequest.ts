import * as v from "valibot"
import { O, O_NOFOLLOW } from "../linux/constants.ts"
import { readAll } from "../linux/content.ts"
import { openAt, unlinkAt, withDescriptor } from "../linux/files.ts"
import { AT_FDCWD } from "../linux/guards.ts"
import { replaceFile } from "../state/atomic.ts"
import type { VmLayout } from "../state/places.ts"

const schema = v.strictObject({
  action: v.picklist(["stop", "kill"]),
  /** Milliseconds for the guest, instead of the spec's. */
  timeout: v.optional(v.number()),
})

/** How a VM is to be stopped. */
export type StopRequest = v.InferOutput<typeof schema>

/** Writes down for a VM's supervisor, before that gets a signal, how to stop it. The latest one holds. */
export function writeStopRequest(layout: VmLayout, request: StopRequest): void {
  replaceFile(layout.stopRequest, `${JSON.stringify(request)}\n`)
}

/** What was asked for, if anything, and takes it away. */
export function takeStopRequest(layout: VmLayout): StopRequest | undefined {
  try {
    const text = withDescriptor(openAt(AT_FDCWD, layout.stopRequest, O.RDONLY | O_NOFOLLOW | O.NONBLOCK), (fd) =>
      new TextDecoder().decode(readAll(fd, 1024)),
    )
    unlinkAt(AT_FDCWD, layout.stopRequest)
    return v.parse(schema, JSON.parse(text))
  } catch {
    // The signal alone is a request as well: whatever is wrong with this one, the VM is to stop.
    return undefined
  }
}
