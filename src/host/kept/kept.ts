import { Failure, messageOf } from "../../base/terms/failure.ts"
import { describeKept, type KeptThing, keptOnDisk } from "../../store/kept/thing.ts"
import { hasMapped, releaseMapped } from "./deviceMapper.ts"
import { findLoops, releaseLoop } from "./loop.ts"
import { findVolumes, releaseVolume } from "./lvm.ts"
import { findMount, releaseMount } from "./mount.ts"
import { askStill, howEnded, RELEASE_MAX_MS, runKept } from "./programs.ts"

// The room kept: things of the host's that a plugin has for a VM, known by what no other has: loop devices, devices of the device
// mapper, snapshots of LVM's, mounts, and whatever two programs of the plugin's know and give back.
// The rule: what is not proven to be the same is not touched, and "cannot tell" is not "gone".

/** Whether a thing is still there, and the same. */
export type Stillness =
  | { readonly is: "same" }
  | { readonly is: "gone" }
  | { readonly is: "unknown"; readonly why: string }

/** A thing, and the boot of the host in which it was made. */
export interface Kept {
  readonly bootId: string
  readonly thing: KeptThing
}

/** Looks for a thing. What does not outlive a boot of the host is gone with its own. Throws nothing. */
export function stillKept({ bootId, thing }: Kept, currentBoot: string): Stillness {
  if (bootId !== currentBoot && !keptOnDisk(thing)) return { is: "gone" }
  try {
    return thing.kind === "command" ? askStill(thing.still) : { is: isThere(thing) ? "same" : "gone" }
  } catch (error) {
    return { is: "unknown", why: messageOf(error) }
  }
}

/**
 * Gives a thing back, and proves it gone. One that is gone already, or is another by now, is fine. A device that somebody looks at just
 * now (udev does when it comes) is tried again for `patienceMs`; a program of the plugin's runs once. Throws NOT_RELEASED, or
 * LIVENESS_UNKNOWN where it cannot be told.
 */
export function releaseKept(
  kept: Kept,
  currentBoot: string,
  { patienceMs = PATIENCE_MS }: { readonly patienceMs?: number } = {},
): void {
  const deadline = performance.now() + (kept.thing.kind === "command" ? 0 : patienceMs)
  let refused: string | undefined
  for (let tries = 0; ; tries++) {
    if (isGone(kept, currentBoot)) return
    if (tries > 0 && performance.now() >= deadline) throw notReleased(kept, refused)
    // What is in use may be let go.
    if (tries > 0) Bun.sleepSync(RETRY_MS)
    refused = attempt(kept.thing)
  }
}

// --- internal ---

/** So long, in milliseconds, others may look at a device that is to go. */
const PATIENCE_MS = 3000
const RETRY_MS = 50

function isThere(thing: Exclude<KeptThing, { kind: "command" }>): boolean {
  if (thing.kind === "loop") return findLoops(thing).length > 0
  if (thing.kind === "mount") return findMount(thing) !== undefined
  return thing.kind === "dm" ? hasMapped(thing) : findVolumes(thing).length > 0
}

function isGone(kept: Kept, currentBoot: string): boolean {
  const still = stillKept(kept, currentBoot)
  if (still.is !== "unknown") return still.is === "gone"
  const what = describeKept(kept.thing)
  const message = `it cannot be told whether ${what} is still there: ${still.why}`
  throw new Failure("LIVENESS_UNKNOWN", message, { subject: what })
}

/** Tries to give it back. Returns why that was refused. */
function attempt(thing: KeptThing): string | undefined {
  try {
    if (thing.kind === "loop") releaseLoop(thing)
    else if (thing.kind === "dm") releaseMapped(thing)
    else if (thing.kind === "lvm") releaseVolume(thing)
    else if (thing.kind === "mount") releaseMount(thing)
    else {
      const ran = runKept(thing.release, RELEASE_MAX_MS)
      return ran.exit === 0 ? undefined : howEnded(thing.release, ran, RELEASE_MAX_MS)
    }
    return undefined
  } catch (error) {
    return messageOf(error)
  }
}

function notReleased({ thing }: Kept, refused: string | undefined): Failure {
  const what = describeKept(thing)
  const hint = thing.kind === "loop" ? "it goes when whoever uses it closes it: fuser -v, findmnt" : undefined
  return new Failure("NOT_RELEASED", `${what} is still there${refused === undefined ? "" : `: ${refused}`}`, {
    hint,
    subject: what,
  })
}
