import { join } from "node:path"
import { inodeOf, statPath } from "../../base/linux/files.ts"
import { mountsBelow } from "../../host/jail/mountTable.ts"
import type { UsageQuery } from "../../host/search/processesUsing.ts"
import { bootId } from "../../store/state/bootId.ts"
import { readHandles } from "../../store/state/handles.ts"
import { type Places, type VmLayout, vmLayout } from "../../store/state/places.ts"
import { livenessOf } from "../../vm/liveness.ts"
import { statOf, tooYoung } from "./age.ts"
import type { JailTrace, Orphan } from "./findOrphans.ts"
import type { Leftover, Verdict } from "./leftover.ts"
import { type Whose, whoseCgroup, whoseRuntime } from "./owner.ts"

/** What there is of a VM without a record that is ours to judge, and what is said of the rest. */
export interface Own {
  readonly traces: Orphan
  readonly others: readonly Leftover[]
  /** What speaks for all of it, found on the way. */
  readonly spoken: Verdict | undefined
}

/** Sets aside what is another banger's: only what lies in our state directory is ours for that. */
export function ownTraces(traces: Orphan, { state }: Places, grace: number): Own {
  const { id, runtime, cgroup } = traces
  const others: Leftover[] = []
  let spoken: Verdict | undefined
  const own = (kind: "runtime" | "cgroup", name: string, whose: Whose) => {
    if (whose === "ours") return true
    if (whose !== "gone" && whose.is === "alive") spoken = whose
    else if (whose !== "gone") others.push({ kind, name, vm: id, ...whose })
    return whose !== "gone" && whose.is === "alive"
  }
  const ownRuntime = runtime !== undefined && own("runtime", runtime, whoseRuntime(runtime, state, grace))
  const ownCgroup = cgroup !== undefined && own("cgroup", `banger/${id}`, whoseCgroup(cgroup, id, state, grace))
  const left = { ...traces, runtime: ownRuntime ? runtime : undefined, cgroup: ownCgroup ? cgroup : undefined }
  return { traces: left, others, spoken }
}

/** Whether anything is left of it. Pure. */
export function isAnything({ vm, runtime, jails, cgroup, uid }: Orphan): boolean {
  return jails.length > 0 || [vm, runtime, cgroup, uid].some((one) => one !== undefined)
}

/**
 * What speaks for a VM's traces without a look at other processes: that they are young, a mount, its own journal.
 * Undefined when nothing does. The caller holds the VM's lock, if there is one.
 */
export function judge(traces: Orphan, where: Places, grace: number): Verdict | undefined {
  const layout = vmLayout(where, traces.id)
  const { vm, runtime, jails } = traces
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

/** By what a user of these traces is known. */
export function premisesOf({ id, vm, runtime, jails, uid }: Orphan, where: Places): UsageQuery {
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

/** The root of a jail, as it is now; undefined when it has none. */
export function rootOf({ path }: JailTrace): ReturnType<typeof statOf> {
  return statOf(join(path, "root"))
}

/** Where a VM's network namespace is kept. */
export function namespaceOf({ runtime }: Pick<VmLayout, "runtime">): string {
  return join(runtime, "netns")
}

// --- internal ---

/** A journal outlives its record when the state database was lost, or an older one was put back. */
function byJournal(layout: VmLayout): Verdict | undefined {
  const handles = readHandles(layout.handles)
  if (handles.is === "missing") return undefined
  if (handles.is === "bad") {
    const hint = `look at it, and at what runs; then: rm -r ${layout.dir}`
    return { is: "unknown", why: `its journal ${layout.handles} is not believed: ${handles.why}`, hint }
  }
  using truth = livenessOf({ boot_id: bootId() }, layout, handles.journal)
  if (truth.is === "dead") return undefined
  if (truth.is === "unknown") return { is: "unknown", why: truth.why, hint: truth.hint }
  const hint = `nothing is known of it but ${layout.handles}; end it if it is not wanted: kill ${truth.process.pid}`
  return { is: "alive", why: `its VMM runs as process ${truth.process.pid}`, hint }
}
