import { lookForCgroups } from "../../host/cgroup/usable.ts"
import { type Finding, ok, unknown, warn } from "./finding.ts"
import type { Host } from "./host.ts"

/** What `limits` of a plugin needs. */
const CONTROLLERS = ["cpu", "io", "memory", "pids"]

const HINT = "boot the host with cgroup v2 alone: systemd.unified_cgroup_hierarchy=1 on the kernel's command line"

/** Whether each VM can have a cgroup, by which it is known and killed whole, and limits. */
export function checkCgroups(host: Host): Finding {
  const mountinfo = host.read("/proc/self/mountinfo")
  if (mountinfo === undefined) return unknown("/proc/self/mountinfo is not there", "mount -t proc proc /proc")
  const looked = lookForCgroups(mountinfo, (path) => host.read(path) !== undefined)
  if (looked.is === "absent") {
    return warn("cgroup v2 is not mounted: VMs have no limits, and are known by their processes alone", HINT)
  }
  const use = looked.is === "usable" && host.uid === 0 ? host.tryCgroups(looked.mount) : looked
  const { mount } = use
  if (use.is === "unusable") {
    const says = `cgroup v2 at ${mount} cannot be used: ${use.why}: VMs have no limits, and are known by their processes alone`
    return warn(says, use.hint)
  }
  const controllers = host.read(`${mount}/cgroup.controllers`)?.trim().split(" ") ?? []
  const missing = CONTROLLERS.filter((name) => !controllers.includes(name))
  if (missing.length === 0) return ok(`cgroup v2 with ${CONTROLLERS.join(", ")}: ${mount}`)
  const hybrid = / - cgroup cgroup /.test(mountinfo)
  const why = hybrid ? "cgroup v1 holds them" : "this cgroup was not given them"
  return warn(`cgroup v2 at ${mount} has no ${missing.join(", ")} (${why}): VMs cannot be limited in that`, HINT)
}
