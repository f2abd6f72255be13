import { S } from "../../base/linux/constants.ts"
import { isType } from "../../base/linux/files.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { listed } from "../../base/terms/printable.ts"
import { type Finding, ok, warn } from "./finding.ts"
import type { Host } from "./host.ts"

/** Finds what a sweep would remove, of one kind; a new kind adds its finder to `LEFTOVERS`. */
export type FindLeftovers = (host: Host, live: (id: string) => boolean) => readonly string[]

/** Whether anything is left of VMs that no banger watches any more. */
export function checkLeftovers(host: Host): Finding {
  const watched = watchedVms(host)
  const found = LEFTOVERS.flatMap((find) => find(host, (id) => watched.has(id)))
  if (found.length === 0) return ok("nothing is left of VMs that ended")
  const some = listed(found, 5)
  return warn(
    `there are things of VMs that no banger watches: ${some}`,
    "banger ps tells what they are; banger sweep takes away what is dead",
  )
}

// --- internal ---

/** The finders: of jails, also half made or half removed, and of runtime directories that no running VM has. */
const LEFTOVERS: readonly FindLeftovers[] = [jails, runtimeDirectories]

/**
 * The VMs whose lock somebody holds, by /proc/locks: taking a lock to test it would hinder others. On btrfs the devices
 * there are not those of stat(2), so only inodes are compared.
 */
function watchedVms(host: Host): ReadonlySet<string> {
  const inodes = new Set((host.read("/proc/locks") ?? "").match(/(?<= FLOCK .* [0-9a-f]+:[0-9a-f]+:)\d+/g))
  const vms = `${host.places.state}/vms`
  const ids = host.list(vms) ?? []
  return new Set(ids.filter((id) => inodes.has(String(host.stat(`${vms}/${id}/lock`)?.ino))))
}

function jails(host: Host, live: (id: string) => boolean): readonly string[] {
  const base = `${host.places.state}/jail`
  const below = (name: string) => (host.list(`${base}/${name}`) ?? []).map((each) => `${base}/${name}/${each}`)
  return (host.list(base) ?? []).flatMap((name) => {
    if (name.startsWith(".stage-")) return live(name.slice(".stage-".length)) ? [] : [`${base}/${name}`]
    if (name === ".grave") return below(name).filter((path) => ![...idsIn(path)].some(live))
    return below(name).filter((path) => !live(path.slice(path.lastIndexOf("/") + 1)))
  })
}

/** The parts of a name in the trash that may be a VM's id. */
function idsIn(path: string): readonly string[] {
  const name = path.slice(path.lastIndexOf("/") + 1)
  return [name, ...name.split(".")]
}

/** Of directories only: files there are locks, which stay. */
function runtimeDirectories(host: Host, live: (id: string) => boolean): readonly string[] {
  const { runtime } = host.places
  // The directory of sweeps' locks stays too.
  const ids = (host.list(runtime) ?? []).filter((name) => !name.startsWith(".") && name !== "sweep" && !live(name))
  return ids.map((name) => `${runtime}/${name}`).filter((path) => isDirectory(host.stat(path)))
}

function isDirectory(stat: Stat | undefined): boolean {
  return stat !== undefined && isType(stat, S.IFDIR)
}
