import { join } from "node:path"
import { bootId } from "../../base/linux/bootId.ts"
import { inodeOf, statPath } from "../../base/linux/files.ts"
import { mountsBelow } from "../../host/jail/mountTable.ts"
import type { UsageQuery } from "../../host/search/processesUsing.ts"
import { readHandles } from "../../store/state/handles.ts"
import { type Places, type VmLayout, vmLayout } from "../../store/state/places.ts"
import { livenessOf } from "../../vm/liveness.ts"
import { statOf, tooYoung } from "./age.ts"
import type { Orphan, OrphanJail } from "./findOrphans.ts"
import type { Leftover, Verdict } from "./leftover.ts"
import { type Whose, whoseCgroup, whoseRuntime } from "./owner.ts"

/** The part of an orphan that is this banger's to judge, and what is told of the rest. */
export interface OwnPart {
  readonly own: Orphan
  readonly others: readonly Leftover[]
  /** The verdict on all of it, where finding the owner showed that it is alive. */
  readonly alive: Verdict | undefined
}

/** Sets aside what is another banger's. A place that bangers share does not make a thing ours: its mark does. */
export function ownPartOf(orphan: Orphan, { state }: Places, grace: number): OwnPart {
  const { id, runtime, cgroup } = orphan
  const others: Leftover[] = []
  let alive: Verdict | undefined
  const own = (kind: "runtime" | "cgroup", name: string, whose: Whose) => {
    if (whose === "ours") return true
    if (whose !== "gone" && whose.is === "alive") alive = whose
    else if (whose !== "gone") others.push({ kind, name, vm: id, ...whose })
    return whose !== "gone" && whose.is === "alive"
  }
  const ownRuntime = runtime !== undefined && own("runtime", runtime, whoseRuntime(runtime, { state, grace }))
  const ownCgroup = cgroup !== undefined && own("cgroup", `banger/${id}`, whoseCgroup(cgroup, id, { state, grace }))
  const part = { ...orphan, runtime: ownRuntime ? runtime : undefined, cgroup: ownCgroup ? cgroup : undefined }
  return { own: part, others, alive }
}

/** Whether an orphan has any part at all. Pure. */
export function hasParts({ vm, runtime, jails, cgroup, uid }: Orphan): boolean {
  return jails.length > 0 || [vm, runtime, cgroup, uid].some((one) => one !== undefined)
}

/**
 * The verdict on an orphan that needs no search among other processes: by its age, its mounts, its own journal. Undefined
 * when these say nothing. The caller holds the VM's lock, if there is one.
 */
export function judgeAlone(orphan: Orphan, where: Places, grace: number): Verdict | undefined {
  const layout = vmLayout(where, orphan.id)
  const { vm, runtime, jails } = orphan
  for (const path of [vm, runtime, ...jails.map(({ path }) => path)]) {
    const stat = path === undefined ? undefined : statOf(path)
    const young = stat && tooYoung(stat, grace)
    if (young !== undefined) return young
  }
  const [mount] = [vm, runtime].flatMap((dir) => (dir === undefined ? [] : mountsBelow(dir)))
  if (mount !== undefined && mount.point !== namespaceOf(layout))
    return { is: "alive", why: `something is mounted on ${mount.point}` }
  return vm === undefined ? undefined : byJournal(layout)
}

/** How to recognise a process that uses an orphan: an open path, its root, its network namespace, its uid. */
export function usageQueryOf({ id, vm, runtime, jails, uid }: Orphan, where: Places): UsageQuery {
  const roots = jails.map(rootOf).filter((root) => root !== undefined)
  const owners = roots.map((root) => root.uid).filter((owner) => owner !== 0)
  const namespace = runtime === undefined ? undefined : statOf(namespaceOf(vmLayout(where, id)))
  const isMount = namespace !== undefined && runtime !== undefined && mountsBelow(runtime).length > 0
  return {
    id,
    dirs: [vm, runtime, ...jails.map(({ path }) => path)].filter((dir) => dir !== undefined),
    inodes: [...roots, ...(isMount ? [statPath(namespaceOf(vmLayout(where, id)))] : [])].map(inodeOf),
    uids: [...new Set([...owners, ...(uid === undefined ? [] : [uid])])],
  }
}

/** The root directory of a jail as it is now; undefined when the jail has none. */
export function rootOf({ path }: OrphanJail): ReturnType<typeof statOf> {
  return statOf(join(path, "root"))
}

// --- internal ---

/** Where a VM's network namespace is kept. */
function namespaceOf({ runtime }: Pick<VmLayout, "runtime">): string {
  return join(runtime, "netns")
}

/** A journal outlives its record when the state database was lost, or an older one was put back. */
function byJournal(layout: VmLayout): Verdict | undefined {
  const handles = readHandles(layout.handles)
  if (handles.is === "missing") return undefined
  if (handles.is === "bad") {
    const hint = `read it, and look for its VMM among the processes; then: rm -r ${layout.dir}`
    return { is: "unknown", why: `its journal ${layout.handles} is not believed: ${handles.why}`, hint }
  }
  using liveness = livenessOf({ boot_id: bootId() }, layout, handles.journal)
  if (liveness.is === "dead") return undefined
  if (liveness.is === "unknown") return { is: "unknown", why: liveness.why, hint: liveness.hint }
  const { pid } = liveness.process
  const hint = `only ${layout.handles} tells of it; if you do not want it: kill ${pid}`
  return { is: "alive", why: `its VMM runs as process ${pid}`, hint }
}
