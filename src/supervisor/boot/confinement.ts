import { accountOf } from "../../base/linux/accounts.ts"
import { Failure } from "../../base/terms/failure.ts"
import { type CgroupSetting, requireControllers } from "../../host/cgroup/cgroup.ts"
import { cgroupSettings, deviceNumber } from "../../host/cgroup/limits.ts"
import { type CgroupUse, lookForCgroups, tryCgroups } from "../../host/cgroup/usable.ts"
import type { Owner } from "../../host/jail/base.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import { ownIdMaps, requireMapped } from "../../store/files/idMap.ts"
import { ownUidRange } from "../../store/state/uids.ts"

/** What is to confine a VMM on this host. */
export interface ConfinementPlan {
  /** Undefined: the VMM runs as this user, without a jail. `uid` undefined: it is taken from the range. */
  readonly jail: { readonly uid: number | undefined; readonly gid: number | undefined } | undefined
  readonly cgroup: { readonly mount: string; readonly settings: readonly CgroupSetting[] } | undefined
  /** Why there is no cgroup, although this host has cgroup v2. */
  readonly cgroupDoubt?: string | undefined
}

/** What will confine the VMM of a spec; nothing is acquired. Throws a failure when this user or host cannot give that. */
export function planConfinement(spec: Spec, root: boolean): ConfinementPlan {
  return { jail: jailOf(spec, root), ...cgroupOf(spec, root) }
}

/**
 * As planned, where the cgroup can really be made, which is tried; else without it, where there are no limits to keep. Throws
 * HOST_LACKS where there are.
 */
export function tried(plan: ConfinementPlan): ConfinementPlan {
  if (plan.cgroup === undefined) return plan
  const { mount, settings } = plan.cgroup
  const use = tryCgroups(mount, settings)
  return use.is === "usable" ? plan : { ...plan, ...without(use, settings.length > 0) }
}

/** The owner of a jail; its gid is the uid unless another is asked for. */
export function ownerOf(uid: number, gid: number | undefined): Owner {
  return { uid, gid: gid ?? uid }
}

/** The owner that a planned jail will likely have: no uid of the range has a right that another of them lacks. */
export function likelyOwner(jail: ConfinementPlan["jail"]): Owner | undefined {
  return jail && ownerOf(jail.uid ?? ownUidRange().first, jail.gid)
}

// --- internal ---

/** Programs that end a login at once. */
const NO_LOGIN = /\/(?:nologin|false)$/

/** NFS, containers and daemons map unknown users to this uid, so it is never one VM's alone. */
const NOBODY = 65534

function jailOf({ jail }: Spec, root: boolean): ConfinementPlan["jail"] {
  if (jail === false) return undefined
  if (!root) {
    if (jail !== undefined)
      throw needsRoot(
        "jail",
        "only root, or who may sudo banger's helper, can run a VMM in a jail",
        "; or leave jail out",
      )
    return undefined
  }
  const { uid, gid } = typeof jail === "object" ? jail : { uid: undefined, gid: undefined }
  if (uid !== undefined) {
    requireNoLogin(uid)
    requireMapped({ uid, gid: gid ?? uid }, ownIdMaps())
  } else ownUidRange()
  return { uid, gid: gid ?? uid }
}

function needsRoot(field: string, words: string, instead = ""): Failure {
  return new Failure("NEEDS_ROOT", `${field}: ${words}`, { hint: `run banger as root${instead}`, subject: field })
}

function requireNoLogin(uid: number): void {
  const account = accountOf(uid)
  const who = uid === NOBODY ? "nobody, whom others run as too" : account && `the login user ${account.name}`
  if (who === undefined || (uid !== NOBODY && NO_LOGIN.test(account?.shell ?? ""))) return
  const hint = "leave jail.uid out, and each VM gets a uid of its own from 1900000000 on"
  throw new Failure("BAD_PLUGIN", `jail.uid: ${uid} is ${who}`, { hint, subject: "jail.uid" })
}

function cgroupOf(spec: Spec, root: boolean): Pick<ConfinementPlan, "cgroup" | "cgroupDoubt"> {
  const { io, ...limits } = spec.limits
  const limited = Object.values(spec.limits).some((limit) => limit !== undefined)
  if (!root) {
    if (limited) throw needsRoot("limits", "only root can limit a VM")
    return { cgroup: undefined }
  }
  if (limits.memory !== undefined && limits.memory <= spec.memory * MIB_BYTES) {
    throw new Failure("BAD_PLUGIN", "limits.memory: less than the guest's memory; the VMM itself needs some too", {
      hint: `make it larger than the guest's ${spec.memory} MiB, or leave it out`,
      subject: "limits.memory",
    })
  }
  const settings = cgroupSettings({
    ...limits,
    ...(io && { io: io.map((limit) => ({ ...limit, device: deviceNumber(limit.device) })) }),
  })
  const use = lookForCgroups()
  if (use.is === "usable") {
    requireControllers(use.mount, settings)
    return { cgroup: { mount: use.mount, settings } }
  }
  if (limited && use.is === "absent")
    throw new Failure("HOST_LACKS", "limits: this host has no cgroup v2", {
      hint: "mount it: mount -t cgroup2 none /sys/fs/cgroup/unified",
      subject: "limits",
    })
  return without(use, limited)
}

/** Throws HOST_LACKS where there are limits to keep. */
function without(
  use: Exclude<CgroupUse, { is: "usable" }>,
  limited: boolean,
): Pick<ConfinementPlan, "cgroup" | "cgroupDoubt"> {
  if (use.is === "absent") return { cgroup: undefined }
  const { mount, why, hint } = use
  const doubt = `cgroup v2 at ${mount} cannot be used: ${why}`
  if (limited)
    throw new Failure("HOST_LACKS", `limits: ${doubt}`, { hint: `${hint}; or leave limits out`, subject: "limits" })
  return { cgroup: undefined, cgroupDoubt: doubt }
}

const MIB_BYTES = 1024 * 1024
