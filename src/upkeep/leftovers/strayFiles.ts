import { readdirSync } from "node:fs"
import { join } from "node:path"
import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { hasEnded } from "../../base/linux/ended.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import {
  inodeOf,
  isType,
  openAt,
  statAt,
  statDescriptor,
  tryFlock,
  unlinkAt,
  withDescriptor,
} from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { whyOf } from "../../base/terms/failure.ts"
import { isDiskLock } from "../../store/disks/lockDisk.ts"
import { makerOf } from "../../store/files/replaceFile.ts"
import { LOCKS } from "../../store/state/directoryLocks.ts"
import { disksDirectory, type Places } from "../../store/state/places.ts"
import { tooYoung } from "./age.ts"
import { isId } from "./findOrphans.ts"
import { type Leftover, type LeftoverRules, UNMARKED_GRACE_MS, type Verdict } from "./leftover.ts"

/**
 * Removes single files that a killed banger left: temporary files an hour old, logs of detached bangers, locks of sweeps and of
 * disks. A disk itself is never one.
 * Never one that another process uses: a log or a lock in use is locked.
 */
export function sweepStrayFiles({ state, runtime }: Places, rules: LeftoverRules): readonly Leftover[] {
  const vms = join(state, "vms")
  const disks = disksDirectory({ state })
  const homes = [
    state,
    join(state, "kernels"),
    disks,
    ...namesIn(vms)
      .filter(isId)
      .map((id) => join(vms, id)),
  ]
  return [
    ...homes.flatMap((dir) => sweepFiles(dir, TEMPORARY, rules)),
    ...sweepFiles(vms, DETACHED, rules),
    ...sweepFiles(disks, DISKS, rules),
    ...sweepFiles(join(runtime, LOCKS), SWEEPS, rules),
  ]
}

// --- internal ---

interface Sort {
  readonly kind: "temporary" | "log" | "lock"
  readonly is: (name: string) => boolean
  /** How old it must be at least, in milliseconds, whatever the grace. */
  readonly minAgeMs: number
  readonly why: string
  /** Whether its user has it locked. */
  readonly locked: boolean
}

const TEMPORARY: Sort = {
  kind: "temporary",
  is: (name) => makerOf(name) !== undefined,
  minAgeMs: 3_600_000,
  why: "the process that made it is gone",
  locked: false,
}

const DETACHED: Sort = {
  kind: "log",
  is: (name) => /^\.detached-[0-9a-f-]{36}\.log$/.test(name),
  // A detached banger locks its log right after making it.
  minAgeMs: UNMARKED_GRACE_MS,
  why: "its banger is gone",
  locked: true,
}

const SWEEPS: Sort = {
  kind: "lock",
  is: (name) => /^\d+-\d+-\d+\.lock$/.test(name),
  // Testing a lock takes it, which a sweep that is about to take it must not notice.
  minAgeMs: UNMARKED_GRACE_MS,
  why: "no sweep holds it",
  locked: true,
}

const DISKS: Sort = {
  kind: "lock",
  is: isDiskLock,
  minAgeMs: UNMARKED_GRACE_MS,
  why: "no command is at that disk",
  locked: true,
}

function sweepFiles(dir: string, sort: Sort, rules: LeftoverRules): readonly Leftover[] {
  const names = namesIn(dir).filter((name) => sort.is(name))
  if (names.length === 0) return []
  return withDescriptor(openAt(AT_FDCWD, dir, O.PATH | O_DIRECTORY | O_NOFOLLOW), (fd) =>
    names.flatMap((name) => {
      const told = (more: Pick<Leftover, "is" | "why" | "hint" | "error">) => [
        { kind: sort.kind, name: join(dir, name), ...more },
      ]
      try {
        const verdict = sweepFile(fd, name, sort, rules)
        if (verdict === "gone") return []
        return told(verdict ?? { is: rules.dryRun ? "dead" : "removed", why: sort.why })
      } catch (error) {
        return told({ is: "failed", ...whyOf(error) })
      }
    }),
  )
}

/** Removes a file, unless it is a dry run or the returned verdict speaks for the file. */
function sweepFile(
  dir: number,
  name: string,
  sort: Sort,
  { grace, dryRun }: LeftoverRules,
): Verdict | "gone" | undefined {
  try {
    // Only a plain file is opened, and no link followed: opening a FIFO could wait for ever.
    const stat = statAt(dir, name)
    if (!isType(stat, S.IFREG) || stat.nlink !== 1) return { is: "kept", why: "it is not a plain file of one name" }
    const verdict = tooYoung(stat, Math.max(grace, sort.minAgeMs)) ?? judgeMaker(name)
    if (verdict !== undefined) return verdict
    if (sort.locked) return unlinkUnlocked(dir, name, stat, { dryRun })
    if (!dryRun) unlinkAt(dir, name)
    return undefined
  } catch (error) {
    if (errorCode(error) === "ENOENT") return "gone"
    throw error
  }
}

/** A temporary file's name has its maker's pid. While any process has that pid, even another one, the file stays. */
function judgeMaker(name: string): Verdict | undefined {
  const maker = makerOf(name)
  if (maker === undefined || hasEnded(maker)) return undefined
  return { is: "kept", why: `process ${maker} may be its maker` }
}

/** Only the holder of its lock removes such a file: so the file that was locked is the one that has the name, if any has. */
function unlinkUnlocked(
  dir: number,
  name: string,
  seen: Stat,
  { dryRun }: Pick<LeftoverRules, "dryRun">,
): Verdict | "gone" | undefined {
  return withDescriptor(openAt(dir, name, O.RDONLY | O_NOFOLLOW | O.NONBLOCK), (fd) => {
    if (!tryFlock(fd)) return { is: "kept", why: "a process holds it" }
    const { nlink, ...held } = statDescriptor(fd)
    if (nlink === 0) return "gone"
    if (inodeOf({ nlink, ...held }) !== inodeOf(seen)) return { is: "kept", why: "it is another file by now" }
    if (!dryRun) unlinkAt(dir, name)
    return undefined
  })
}

function namesIn(dir: string): readonly string[] {
  return unlessAbsent(() => readdirSync(dir), ["ENOENT", "ENOTDIR"]) ?? []
}
