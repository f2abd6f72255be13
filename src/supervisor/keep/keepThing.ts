import { bootId } from "../../base/linux/bootId.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { type MappedWish, planMapped } from "../../host/kept/deviceMapper.ts"
import { releaseKept } from "../../host/kept/kept.ts"
import { type LoopWish, planLoop } from "../../host/kept/loop.ts"
import { planVolume, type VolumeWish } from "../../host/kept/lvm.ts"
import { type MountWish, planMount } from "../../host/kept/mount.ts"
import type { KeptThing } from "../../store/kept/thing.ts"
import type { Resource } from "../../store/state/handles.ts"
import type { Session } from "../../vm/session.ts"

/** An entry of the journal. */
export type KeptResource = Extract<Resource, { kind: "kept" }>

/** What a plugin wants to keep for its VM. */
export type KeepWish =
  | ({ readonly kind: "loop" } & LoopWish)
  | ({ readonly kind: "dm" } & MappedWish)
  | ({ readonly kind: "lvm" } & VolumeWish)
  | ({ readonly kind: "mount" } & MountWish)
  | Extract<KeptThing, { kind: "command" }>

/** A VM keeps no more things than this. */
const KEPT_MAX_COUNT = 64

/**
 * Writes down on the journal what is about to be made, with the mark that it bears from birth, and then makes it, but for what a plugin
 * makes itself. However this ends, the journal names what there is. Throws a failure, with nothing of it left.
 */
export function keepThing({ id, journal }: Pick<Session, "id" | "journal">, wish: KeepWish): KeptResource {
  const number = Math.max(0, ...keptOn(journal.resources).map((kept) => kept.number)) + 1
  if (keptOn(journal.resources).length >= KEPT_MAX_COUNT)
    throw new Failure("BAD_PLUGIN", `a VM keeps at most ${KEPT_MAX_COUNT} things`, { subject: "keep" })
  using plan = planOf(wish, `banger-${id}-${number}`)
  const entry = { kind: "kept", number, bootId: bootId(), thing: plan.thing } as const
  journal.acquire(entry)
  try {
    const made = { ...entry, thing: plan.make() }
    if (made.thing !== entry.thing) journal.refine(made)
    return made
  } catch (error) {
    if (isReleased(entry))
      journal.keepOnly(journal.resources.filter((resource) => resource.kind !== "kept" || resource.number !== number))
    if (!["EACCES", "EPERM"].includes(errorCode(error) ?? "")) throw error
    throw new Failure("NEEDS_ROOT", `only root can make it: ${messageOf(error)}`, { subject: wish.kind, cause: error })
  }
}

/** What a VM keeps, in the order of making. Pure. */
export function keptOn(resources: readonly Resource[]): readonly KeptResource[] {
  return resources.filter((resource) => resource.kind === "kept")
}

// --- internal ---

/** Gives back what was made by half. What could not be given back stays on the journal, and is released after the VM. */
function isReleased(entry: KeptResource): boolean {
  try {
    releaseKept(entry, entry.bootId)
    return true
  } catch {
    return false
  }
}

function planOf(wish: KeepWish, mark: string): { thing: KeptThing; make: () => KeptThing } & Disposable {
  const nothing = { [Symbol.dispose]() {} }
  if (wish.kind === "loop") return planLoop(wish, mark)
  if (wish.kind === "dm") return { ...planMapped(wish, mark), ...nothing }
  if (wish.kind === "mount") return planMount(wish)
  if (wish.kind === "lvm") return { ...planVolume(wish, mark), ...nothing }
  return { thing: wish, make: () => wish, ...nothing }
}
