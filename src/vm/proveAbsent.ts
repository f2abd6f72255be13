import { bootId } from "../base/linux/bootId.ts"
import { unlessAbsent } from "../base/linux/errors.ts"
import { statPath } from "../base/linux/files.ts"
import { findLink } from "../base/linux/links.ts"
import { withRoute } from "../base/linux/rtnetlink.ts"
import { Failure, joinFailures } from "../base/terms/failure.ts"
import { jailRoot } from "../host/jail/base.ts"
import { stillKept } from "../host/kept/kept.ts"
import { findVmm } from "../host/search/findVmm.ts"
import { describeKept } from "../store/kept/thing.ts"
import type { Resource } from "../store/state/handles.ts"
import type { VmLayout } from "../store/state/places.ts"
import { livenessUnknown, toForget, vmmQuery } from "./liveness.ts"

/** Looks again for everything that a VM's journal named. Throws NOT_RELEASED, naming what is still there. */
export function proveAbsent(layout: VmLayout, resources: readonly Resource[]): void {
  // If its cgroup is gone, so are its processes; a VMM with a recorded identity was in it.
  const ended = resources.some((resource) => resource.kind === "cgroup" && !exists(resource.path))
  const proven = (resource: Resource) => ended && resource.kind === "process" && resource.identity !== null
  const left = resources
    .filter((resource) => !proven(resource))
    .map((resource) => stillThere(resource, layout, resources))
    .filter((failure) => failure !== undefined)
  if (left.length > 0) throw joinFailures(layout.id, left)
}

/** What a plugin keeps, and why nobody can tell whether it is still there. */
export interface Untold {
  readonly resource: Extract<Resource, { kind: "kept" }>
  readonly why: string
}

/** Of what a journal names as kept, that of which it cannot be told now whether it is still there. Throws nothing. */
export function untoldKept(resources: readonly Resource[]): readonly Untold[] {
  return resources.flatMap((resource) => {
    if (resource.kind !== "kept") return []
    const still = stillKept(resource, bootId())
    return still.is === "unknown" ? [{ resource, why: still.why }] : []
  })
}

// --- internal ---

function stillThere(resource: Resource, layout: VmLayout, all: readonly Resource[]): Failure | undefined {
  const left = (message: string) =>
    new Failure("NOT_RELEASED", message, { subject: layout.id, hint: `to try again: banger rm ${layout.id}` })
  if (resource.kind === "network")
    return hasLink(resource.link) ? left(`the interface ${resource.link} is still there`) : undefined
  if (resource.kind === "kept") {
    const still = stillKept(resource, bootId())
    const what = describeKept(resource.thing)
    if (still.is === "same") return left(`${what} is still there`)
    if (still.is === "gone") return undefined
    return new Failure("LIVENESS_UNKNOWN", `it cannot be told whether ${what} is still there: ${still.why}`, {
      subject: layout.id,
      hint: toForget(layout.id),
    })
  }
  // It outlives the VM.
  if (resource.kind === "disk") return undefined
  if (resource.kind !== "process") {
    const path =
      resource.kind === "jail" ? jailRoot({ base: layout.jails, vmm: resource.vmm, id: layout.id }) : resource.path
    return exists(path) ? left(`${path} is still there`) : undefined
  }
  const sought = vmmQuery(all, layout)
  if (sought === undefined) return undefined
  using found = findVmm(sought)
  if (found.is === "unknown") return livenessUnknown(layout, found)
  if (found.is !== "alive") return undefined
  return left(`process ${found.identity.pid} still runs`)
}

/** Asks the kernel itself: a command that only looks need not load what makes and removes interfaces. */
function hasLink(name: string): boolean {
  return withRoute((route) => findLink(route, name)) !== undefined
}

function exists(path: string): boolean {
  return unlessAbsent(() => statPath(path), ["ENOENT", "ENOTDIR"]) !== undefined
}
