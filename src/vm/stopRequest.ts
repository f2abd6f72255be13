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
  /** Milliseconds for the guest, instead of the spec's. */
  timeout: v.optional(v.number()),
  /** The process of the supervisor that was asked. */
  to: v.optional(v.number()),
})

/** How a VM is to be stopped. */
export type StopRequest = Omit<v.InferOutput<typeof schema>, "to">

const SIGUSR1 = 10
const SIGTERM = 15

/**
 * Asks a VM's supervisor to stop it: the request is written down, then comes a signal. However many ask for a stop, it gets
 * one signal, since a second one means "at once": that is for `kill`. Tells whether it was asked before, so that
 * `request.timeout` is not what holds. `stateNow` reads the VM's state.
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
    // A full disk must not keep a VM from being stopped: then signals alone say how, two different ones since two of a kind can come as one.
    if (stateNow() === "stopping" && request.action === "stop") return "asked before"
    supervisor.signal(SIGTERM)
    if (request.action === "kill") supervisor.signal(SIGUSR1)
    return "asked"
  }
}

/** What was asked for, if anything, and takes it away. The VM is `stopping` by then. */
export function takeStopRequest(layout: VmLayout): StopRequest | undefined {
  const request = readStopRequest(layout)
  try {
    unlinkAt(AT_FDCWD, layout.stopRequest)
  } catch {
    // There is none, or a disk that is read-only: nothing hangs on it now.
  }
  return request
}

// --- internal ---

function readStopRequest(layout: VmLayout): v.InferOutput<typeof schema> | undefined {
  try {
    const text = withDescriptor(openAt(AT_FDCWD, layout.stopRequest, O.RDONLY | O_NOFOLLOW | O.NONBLOCK), (fd) =>
      new TextDecoder().decode(readAll(fd, 1024)),
    )
    return v.parse(schema, JSON.parse(text))
  } catch {
    // The signal alone is a request as well: whatever is wrong with this one, the VM is to stop.
    return undefined
  }
}
