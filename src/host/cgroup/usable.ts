import { existsSync, readFileSync } from "node:fs"
import { O, O_DIRECTORY } from "../../base/linux/constants.ts"
import { errorCode, ignoring } from "../../base/linux/errors.ts"
import { mkdirAt, openAt, openBeneath, rmdirAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { messageOf } from "../../base/terms/failure.ts"
import { type CgroupSetting, controllersOf, enableControllers, PARENT } from "./cgroup.ts"

/** Whether VMs can have cgroups (v2) on this host, or why not and what mends it. */
export type CgroupUse =
  | { readonly is: "usable"; readonly mount: string }
  | { readonly is: "absent" }
  | { readonly is: "unusable"; readonly mount: string; readonly why: string; readonly hint: string }

/** What the mount table tells of it, and a look at each mount; nothing is made. The first that may be usable is taken. */
export function lookForCgroups(
  mountinfo = readFileSync("/proc/self/mountinfo", "latin1"),
  isThere: (path: string) => boolean = existsSync,
): CgroupUse {
  const judged = mountinfo.split("\n").flatMap((line) => judgeMount(line, isThere))
  return judged.find(({ is }) => is === "usable") ?? judged[0] ?? { is: "absent" }
}

/**
 * Tries it: makes a VM's cgroup, with the controllers that settings need, and removes it. For whoever is about to make one: what is
 * read-only, not delegated, full or in the way shows before there is a record.
 */
export function tryCgroups(
  mount: string,
  settings: readonly CgroupSetting[] = [],
): Exclude<CgroupUse, { is: "absent" }> {
  let step = `${mount}/${PARENT}`
  try {
    withDescriptor(openAt(AT_FDCWD, mount, O.PATH | O_DIRECTORY), (root) => {
      ignoring(["EEXIST"], () => mkdirAt(root, PARENT, 0o755))
      step = `${mount}/cgroup.subtree_control`
      enableControllers(mount, controllersOf(settings))
      step = `${mount}/${PARENT}/${TRY}`
      withDescriptor(openBeneath(root, PARENT, O.PATH | O_DIRECTORY), (parent) => {
        // One that is there is of a banger that was killed here, or of one that tries it just now.
        ignoring(["EEXIST"], () => mkdirAt(parent, TRY, 0o755))
        ignoring(["ENOENT"], () => rmdirAt(parent, TRY))
      })
    })
    return { is: "usable", mount }
  } catch (error) {
    const code = errorCode(error) ?? ""
    const [why, hint] = CAUSES[code] ?? [messageOf(error), `look at it: ls -ld ${step}`]
    return { is: "unusable", mount, why: `${why} (${code})`, hint: hint.replaceAll("MOUNT", mount) }
  }
}

// --- internal ---

/** One name for all, so that a kill leaves no more than one, which the next one removes. */
const TRY = ".try"

const READ_ONLY = ["it is mounted read-only", "mount -o remount,rw MOUNT; in a unit: ProtectControlGroups=no"] as const
const NOT_OURS = [
  "this process may not make cgroups there",
  "have it delegated: Delegate=yes in the unit; in a container: --privileged, or --cgroupns=private with a writable MOUNT",
] as const

const CAUSES: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  EROFS: READ_ONLY,
  EACCES: NOT_OURS,
  EPERM: NOT_OURS,
  EBUSY: [
    "its first cgroup has processes, so that no controller can be switched on",
    "mkdir MOUNT/init && for p in $(cat MOUNT/cgroup.procs); do echo $p > MOUNT/init/cgroup.procs; done",
  ],
  EAGAIN: [
    "it may have no more cgroups, or none as deep",
    "raise the limits: cat MOUNT/cgroup.max.descendants MOUNT/cgroup.max.depth MOUNT/cgroup.stat",
  ],
  ENOENT: ["what is there is no cgroup, or lacks a controller", "findmnt MOUNT; cat MOUNT/cgroup.controllers"],
  ENOSPC: ["it may have no more cgroups", "cat MOUNT/cgroup.max.descendants MOUNT/cgroup.stat"],
}

function judgeMount(line: string, isThere: (path: string) => boolean): readonly CgroupUse[] {
  const [left = "", right = ""] = line.split(" - ")
  if (!right.startsWith("cgroup2 ")) return []
  const [, , , , mount = "", options = ""] = left.split(" ")
  const all = [...options.split(","), ...(right.split(" ")[2] ?? "").split(",")]
  const unusable = ([why, hint]: readonly [string, string]): readonly CgroupUse[] => [
    { is: "unusable", mount, why, hint: hint.replaceAll("MOUNT", mount) },
  ]
  if (all.includes("ro")) return unusable(READ_ONLY)
  if (!isThere(`${mount}/cgroup.controllers`))
    return unusable(["another mount hides it", "umount MOUNT, or what is mounted above it: findmnt MOUNT"])
  return [{ is: "usable", mount }]
}
