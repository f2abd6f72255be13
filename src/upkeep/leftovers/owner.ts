import { readdirSync, readlinkSync } from "node:fs"
import { join } from "node:path"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { lookAtCgroup } from "../../host/cgroup/cgroup.ts"
import { ownerOfMark, RUNTIME_MARK } from "../../store/state/mark.ts"
import { statOf, tooYoung } from "./age.ts"
import { UNMARKED_GRACE_MS, type Verdict } from "./leftover.ts"

/** Whose a thing in a place that bangers share is: ours to judge, gone meanwhile, or not ours (or in use) by this verdict. */
export type Whose = "ours" | "gone" | Verdict

/** Whose a VM's runtime directory is: bangers with different state directories may share one runtime directory. */
export function whoseRuntime(dir: string, state: string, grace: number): Whose {
  const owner = ownerOfMark(runtimeMark(dir), state)
  if (owner === "ours") return "ours"
  if (owner !== "nobody") return others(owner.other)
  const stat = statOf(dir)
  if (stat === undefined) return "gone"
  if (!isEmpty(dir)) return { is: "kept", why: "it has no owner's mark" }
  return tooYoung(stat, Math.max(grace, UNMARKED_GRACE_MS)) ?? "ours"
}

/**
 * Whose a VM's cgroup is: all state directories, and all containers, share one parent cgroup. A banger marks its cgroup
 * right after making it, and the VMM joins some milliseconds later: a cgroup without a mark is judged only when it is old.
 */
export function whoseCgroup(mount: string, id: string, state: string, grace: number): Whose {
  const facts = lookAtCgroup(mount, id)
  if (facts === undefined) return "gone"
  const { mark, populated, stat } = facts
  const owner = ownerOfMark(mark, state)
  if (owner === "ours")
    return populated
      ? { is: "alive", why: "processes run in it", hint: `they are in ${facts.path}/cgroup.procs` }
      : owner
  if (owner !== "nobody") return others(owner.other)
  if (populated) return { is: "kept", why: "processes run in it, and it has no owner's mark" }
  return tooYoung(stat, Math.max(grace, UNMARKED_GRACE_MS)) ?? "ours"
}

/** The mark in a VM's runtime directory, if there is one. */
export function runtimeMark(dir: string): string | undefined {
  return unlessAbsent(() => readlinkSync(join(dir, RUNTIME_MARK)), ["ENOENT", "EINVAL", "ENOTDIR"])
}

// --- internal ---

function others(state: string): Verdict {
  return { is: "kept", why: `it belongs to the banger whose state is in ${state}` }
}

function isEmpty(dir: string): boolean {
  return (unlessAbsent(() => readdirSync(dir)) ?? []).length === 0
}
