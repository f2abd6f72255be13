import { join } from "node:path"
import * as v from "valibot"
import { O, O_NOFOLLOW } from "../base/linux/constants.ts"
import { readAll } from "../base/linux/content.ts"
import { openAt, unlinkAt, withDescriptor } from "../base/linux/files.ts"
import { AT_FDCWD } from "../base/linux/guards.ts"
import type { PidRef } from "../host/process/pidRef.ts"
import { withLock } from "../store/files/lock.ts"
import { replaceFile } from "../store/files/replaceFile.ts"
import type { VmLayout } from "../store/state/places.ts"
import type { VmState } from "../store/state/vmState.ts"

const schema = v.strictObject({
  action: v.picklist(["stop", "kill"]),
  /** How many milliseconds the guest has, instead of what the spec says. */
  timeout: v.optional(v.number()),
  /** The process of the supervisor that was signalled. */
  to: v.optional(v.number()),
})

/** How a VM is to be stopped. */
export type StopRequest = Omit<v.InferOutput<typeof schema>, "to">

/** What is written here is smaller. */
const REQUEST_MAX_BYTES = 1024

const SIGUSR1 = 10
const SIGTERM = 15

/**
 * Asks a VM's supervisor to stop it: writes the request down, then signals. However many ask for a stop, the supervisor
 * gets one signal, because a second one means "at once": only `kill` sends that. "asked before" means that an earlier
 * request holds, with its own time limit. `stateNow` reads the VM's state.
 */
export function askToStop(
  supervisor: PidRef,
  request: StopRequest,
  { layout, stateNow }: { readonly layout: VmLayout; readonly stateNow: () => VmState },
): "asked" | "asked before" {
  try {
    return withLock(join(layout.dir, "stop.lock"), () => {
      const before = readStopRequest(layout)
      const told = before?.to === supervisor.pid ? before.action : stateNow() === "stopping" ? "stop" : undefined
      if (told === "kill" || told === request.action) return "asked before"
      replaceFile(layout.stopRequest, `${JSON.stringify({ ...request, to: supervisor.pid })}\n`)
      supervisor.signal(SIGTERM)
      return "asked"
    })
  } catch {
    // A full disk must not keep a VM from being stopped. Then the signals alone tell how; a kill is two different ones, since
    // two of one kind can arrive as one.
    if (stateNow() === "stopping" && request.action === "stop") return "asked before"
    supervisor.signal(SIGTERM)
    if (request.action === "kill") supervisor.signal(SIGUSR1)
    return "asked"
  }
}

/** What was asked for, if anything, and removes it. The VM is `stopping` by then. */
export function takeStopRequest(layout: VmLayout): StopRequest | undefined {
  const request = readStopRequest(layout)
  try {
    unlinkAt(AT_FDCWD, layout.stopRequest)
  } catch {
    // There is none, or the disk is read-only: one that stays is no harm now.
  }
  return request
}

// --- internal ---

function readStopRequest(layout: VmLayout): v.InferOutput<typeof schema> | undefined {
  try {
    const text = withDescriptor(openAt(AT_FDCWD, layout.stopRequest, O.RDONLY | O_NOFOLLOW | O.NONBLOCK), (fd) =>
      new TextDecoder().decode(readAll(fd, REQUEST_MAX_BYTES)),
    )
    return v.parse(schema, JSON.parse(text))
  } catch {
    // The signal alone is a request: the VM stops, whatever is wrong with this file.
    return undefined
  }
}
