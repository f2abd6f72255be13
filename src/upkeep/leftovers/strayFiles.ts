import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { LOCK, O, O_DIRECTORY, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import {
  flock,
  inodeOf,
  isType,
  openAt,
  statAt,
  statDescriptor,
  unlinkAt,
  withDescriptor,
} from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { messageOf } from "../../base/terms/failure.ts"
import { LOCKS } from "../../store/state/directoryLocks.ts"
import type { Places } from "../../store/state/places.ts"
import { tooYoung } from "./age.ts"
import { isId } from "./findOrphans.ts"
import { type Leftover, type LeftoverRules, UNMARKED_GRACE_MS, type Verdict } from "./leftover.ts"

/**
 * Removes single files that a banger which was killed left: temporary files an hour old, logs of detached bangers, locks
 * of sweeps. Never one that another process has open in a way that matters to it: who uses the latter two has them locked.
 */
export function sweepStrayFiles({ state, runtime }: Places, rules: LeftoverRules): readonly Leftover[] {
  const vms = join(state, "vms")
  const homes = [
    state,
    join(state, "kernels"),
    ...namesIn(vms)
      .filter(isId)
      .map((id) => join(vms, id)),
  ]
  return [
    ...homes.flatMap((dir) => sweepFiles(dir, TEMPORARY, rules)),
    ...sweepFiles(vms, DETACHED, rules),
    ...sweepFiles(join(runtime, LOCKS), SWEEPS, rules),
  ]
}

// --- internal ---

interface Sort {
  readonly kind: "temporary" | "log" | "lock"
  readonly pattern: RegExp
  /** How old it must be, in milliseconds, whatever the grace. */
  readonly age: number
  readonly why: string
  /** Whether who uses it has it locked. */
  readonly locked: boolean
}

const TEMPORARY: Sort = {
  kind: "temporary",
  pattern: /^\..+\.(\d+)\.tmp$/,
  age: 3_600_000,
  why: "the process that made it is gone",
  locked: false,
}

const DETACHED: Sort = {
  kind: "log",
  pattern: /^\.detached-[0-9a-f-]{36}\.log$/,
  // It is locked right after it is made.
  age: UNMARKED_GRACE_MS,
  why: "its banger is gone",
  locked: true,
}

const SWEEPS: Sort = {
  kind: "lock",
  pattern: /^\d+-\d+-\d+\.lock$/,
  // To look whether it is held it is taken, which a sweep that is about to take it must not notice.
  age: UNMARKED_GRACE_MS,
  why: "no sweep holds it",
  locked: true,
}

function sweepFiles(dir: string, sort: Sort, rules: LeftoverRules): readonly Leftover[] {
  const names = namesIn(dir).filter((name) => sort.pattern.test(name))
  if (names.length === 0) return []
  return withDescriptor(openAt(AT_FDCWD, dir, O.PATH | O_DIRECTORY | O_NOFOLLOW), (fd) =>
    names.flatMap((name) => {
      const told = (is: Leftover["is"], why: string) => [{ kind: sort.kind, name: join(dir, name), is, why }]
      try {
        const verdict = sweepFile(fd, name, sort, rules)
        if (verdict === "gone") return []
        return verdict === undefined ? told(rules.dryRun ? "dead" : "removed", sort.why) : told(verdict.is, verdict.why)
      } catch (error) {
        return told("failed", messageOf(error))
      }
    }),
  )
}

/** Removes a file unless something speaks for it. */
function sweepFile(
  dir: number,
  name: string,
  sort: Sort,
  { grace, dryRun }: LeftoverRules,
): Verdict | "gone" | undefined {
  try {
    // No link is followed, and nothing but a plain file opened: FIFOs have no end.
    const stat = statAt(dir, name)
    if (!isType(stat, S.IFREG) || stat.nlink !== 1) return { is: "kept", why: "it is not a plain file of one name" }
    const spoken = tooYoung(stat, Math.max(grace, sort.age)) ?? maker(name, sort)
    if (spoken !== undefined) return spoken
    if (sort.locked) return unlinkUnlocked(dir, name, stat, dryRun)
    if (!dryRun) unlinkAt(dir, name)
    return undefined
  } catch (error) {
    if (errorCode(error) === "ENOENT") return "gone"
    throw error
  }
}

/** A temporary file has the pid of who made it in its name; another process may have that by now, and then it stays. */
function maker(name: string, { kind, pattern }: Sort): Verdict | undefined {
  const [, pid] = pattern.exec(name) ?? []
  if (kind !== "temporary" || !existsSync(`/proc/${pid}`)) return undefined
  return { is: "kept", why: `there is a process ${pid}` }
}

/** Only who holds its lock removes such a file, so what has the name is what was locked, if it has a name still. */
function unlinkUnlocked(dir: number, name: string, seen: Stat, dryRun: boolean): Verdict | "gone" | undefined {
  return withDescriptor(openAt(dir, name, O.RDONLY | O_NOFOLLOW | O.NONBLOCK), (fd) => {
    try {
      flock(fd, LOCK.EX | LOCK.NB)
    } catch (error) {
      if (errorCode(error) === "EAGAIN") return { is: "kept", why: "a process holds it" }
      throw error
    }
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
