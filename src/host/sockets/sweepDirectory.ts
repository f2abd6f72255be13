import { O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { errnoName, SyscallError } from "../../base/linux/errors.ts"
import { close, inodeOf, isType, openAt, statDescriptor, tryOpenAt } from "../../base/linux/files.ts"
import { awaitChanges, nextEntries, rewind } from "../../base/linux/listing.ts"
import type { Stat } from "../../base/linux/structs.ts"
import type { Directory } from "./directory.ts"
import {
  type Candidate,
  isSocket,
  judgeFile,
  lastLook,
  type Opinion,
  type Probe,
  type Rules,
  startProbe,
} from "./judge.ts"
import type { Dead } from "./remove.ts"
import { callWitness, type Witness } from "./witness.ts"

/** How a directory is swept. */
export interface Settings {
  readonly rules: Rules
  readonly dryRun: boolean
  /** How many times a socket must be found dead, and how many milliseconds apart. */
  readonly confirm: number
  readonly confirmDelay: number
  /** Asked before a socket is removed; undefined: nothing speaks for it. */
  readonly veto: ((directory: Directory, candidate: Candidate) => Promise<Opinion>) | undefined
}

/** Is told of each socket, once, what became of it. */
export type Tell = (name: Uint8Array, stat: Stat | undefined, opinion: NonNullable<Opinion>) => void

/** As many sockets are pinned at a time: whatever the directory's size, a sweep takes this many descriptors and a few. */
const BATCH_COUNT = 64

/** What judging one socket takes besides: its lock, the second witness or a new probe, and one to spare. */
const SPARE_FD_COUNT = 3

/** What the first look at a directory has found: names of directories in it, and the sockets that may be dead. */
export interface FirstLook {
  readonly subdirectories: readonly Uint8Array[]
  readonly dead: readonly Candidate[]
}

/** A look at what an earlier one has found dead. */
export interface LaterLook {
  readonly dead: readonly Candidate[]
  /** Whether what is dead still is removed now. */
  readonly last: boolean
}

/** How often each directory is looked at: a veto is asked between two looks. */
export function roundsOf({ confirm, veto }: Pick<Settings, "confirm" | "veto">): number {
  return Math.max(confirm, veto === undefined ? 1 : 2)
}

/**
 * The first look at a directory. Each socket is pinned by a descriptor, looked at, and asked after a barrier; nothing but "no socket
 * is bound to this inode" makes it dead, and that is for good: bind(2) always makes a new inode. Where there is only one look, the
 * dead are removed. What cannot be told is told as `unknown`, and left alone. Throws a system error when the directory cannot be read.
 */
export function lookFirst(directory: Directory, settings: Settings, tell: Tell): FirstLook {
  return withSweep({ directory, settings, tell }, (sweep) => {
    const dead = examineListed(sweep, roundsOf(settings) === 1)
    return { subdirectories: sweep.subdirectories, dead }
  })
}

/**
 * A later look does all of it once more, so that nothing hangs on what was so before a delay: what is not dead any more is told, the
 * rest returned, or after the last look removed, unless the veto speaks for it.
 */
export async function lookAgain(
  directory: Directory,
  settings: Settings,
  { tell, dead, last }: LaterLook & { readonly tell: Tell },
): Promise<readonly Candidate[]> {
  const { veto } = settings
  const asked = last && veto !== undefined ? await withoutVetoed({ directory, tell }, dead, veto) : dead
  return withSweep({ directory, settings, tell }, (sweep) => examine(sweep, asked, last))
}

// --- internal ---

function withSweep<T>(
  { directory, settings, tell }: Pick<Sweep, "directory" | "settings" | "tell">,
  work: (sweep: Sweep) => T,
): T {
  const probe = startProbe()
  const spare: number[] = []
  const sweep: Sweep = {
    ...{ directory, settings, tell, probe, spare },
    ...{ batch: BATCH_COUNT, subdirectories: [], witness: undefined },
  }
  try {
    while (spare.length < SPARE_FD_COUNT) spare.push(openAt(directory.fd, ".", O.PATH))
    return work(sweep)
  } finally {
    for (const fd of spare) close(fd)
    probe.close()
  }
}

interface Sweep {
  readonly directory: Directory
  readonly settings: Settings
  readonly tell: Tell
  readonly probe: Probe
  /** Descriptors that hold the place of those that judging takes, until there are no others left. */
  readonly spare: number[]
  /** How many sockets are pinned at a time. */
  batch: number
  readonly subdirectories: Uint8Array[]
  /** Called when the first dead socket is about to be removed. */
  witness: Witness | undefined
}

/** A name to look at, and in later rounds what had it before. */
interface Known {
  readonly name: Uint8Array
  readonly stat?: Stat | undefined
}

const UNKNOWN_TYPE = 0

function examineListed(sweep: Sweep, last: boolean): Candidate[] {
  const dead: Candidate[] = []
  rewind(sweep.directory.fd)
  for (;;) {
    const entries = nextEntries(sweep.directory.fd)
    if (entries === undefined) return dead
    sweep.subdirectories.push(...entries.filter(({ type }) => type === S.IFDIR).map(({ name }) => name))
    const names = entries.filter(({ type }) => type === S.IFSOCK || type === UNKNOWN_TYPE)
    for (const candidate of examine(sweep, names, last)) dead.push(candidate)
  }
}

/** Looks at these names, some at a time; the dead are returned, or in the last round removed. */
function examine(sweep: Sweep, names: readonly Known[], last: boolean): Candidate[] {
  const dead: Candidate[] = []
  for (let at = 0; at < names.length; ) {
    const pinned: Dead[] = []
    try {
      at = pinSome(sweep, { names, from: at }, pinned)
      dead.push(...judgeSome(sweep, pinned, last))
    } finally {
      for (const { fd } of pinned) close(fd)
    }
  }
  return dead
}

/** Pins the sockets of the next names that may be dead. Returns how far it came. */
function pinSome(
  sweep: Sweep,
  { names, from }: { readonly names: readonly Known[]; readonly from: number },
  pinned: Dead[],
): number {
  let at = from
  for (; at < names.length && pinned.length < sweep.batch; at++) {
    const known = names[at] as Known
    const fd = tryOpenAt(sweep.directory.fd, known.name, O.PATH | O_NOFOLLOW)
    if (fd >= 0) pinned.push(...pinOne(sweep, known, fd))
    else {
      const code = errnoName(-fd)
      if (code === "EMFILE" && pinned.length > 0) {
        // Those that are pinned are judged first, which frees their descriptors.
        sweep.batch = pinned.length
        for (const place of sweep.spare.splice(0)) close(place)
        break
      }
      if (code === "ENOENT") sweep.tell(known.name, undefined, { is: "gone" })
      else sweep.tell(known.name, undefined, unknown(`openat: ${code}`))
    }
  }
  return at
}

/** Returns what may be a dead socket, with its descriptor; closes any other. */
function pinOne(sweep: Sweep, { name, stat: before }: Known, fd: number): readonly Dead[] {
  let kept = false
  try {
    const stat = statDescriptor(fd)
    if (isSocket(stat)) {
      // Rounded up: what was made within this very millisecond is not of the future.
      const now = Date.now() + 1
      // A file system may give the number of an inode that is gone to the next one.
      const same = before === undefined || (inodeOf(before) === inodeOf(stat) && before.btimeMs === stat.btimeMs)
      // Whoever had it has bound again meanwhile.
      const opinion = same
        ? judgeFile(sweep.directory, { name, stat }, { rules: sweep.settings.rules, now })
        : CAME_BACK
      kept = opinion === undefined
      if (opinion === undefined) return [{ name, fd, stat }]
      sweep.tell(name, stat, opinion)
    } else if (before !== undefined) sweep.tell(name, stat, CHANGED)
    else if (isType(stat, S.IFDIR)) sweep.subdirectories.push(name)
  } catch (error) {
    sweep.tell(name, undefined, unknown(textOf(error)))
  } finally {
    if (!kept) close(fd)
  }
  return []
}

/** Returns those of the pinned that are dead; in the last round they are removed. */
function judgeSome(sweep: Sweep, pinned: readonly Dead[], last: boolean): readonly Candidate[] {
  if (pinned.length === 0) return []
  const dead: Candidate[] = []
  try {
    awaitChanges(sweep.directory.barrier)
  } catch (error) {
    for (const { name, stat } of pinned) sweep.tell(name, stat, unknown(textOf(error)))
    return []
  }
  for (const one of pinned) {
    try {
      const opinion = sweep.probe.ask(one.fd) ?? (last ? judgeLast(sweep, one) : undefined)
      if (opinion === undefined) dead.push({ name: one.name, stat: one.stat })
      else sweep.tell(one.name, one.stat, opinion)
    } catch (error) {
      sweep.tell(one.name, one.stat, unknown(textOf(error)))
    }
  }
  return dead
}

function judgeLast(sweep: Sweep, one: Dead): NonNullable<Opinion> {
  sweep.witness ??= callWitness(sweep.directory.fileSystem === "btrfs")
  const { probe, witness, settings } = sweep
  return lastLook(sweep.directory, one, { probe, witness, dry: settings.dryRun })
}

async function withoutVetoed(
  { directory, tell }: Pick<Sweep, "directory" | "tell">,
  dead: readonly Candidate[],
  veto: NonNullable<Settings["veto"]>,
): Promise<Candidate[]> {
  const left: Candidate[] = []
  for (const candidate of dead) {
    const opinion = await veto(directory, candidate)
    if (opinion === undefined) left.push(candidate)
    else tell(candidate.name, candidate.stat, opinion)
  }
  return left
}

const CAME_BACK = { is: "kept", reason: "respawned", why: "it came back: another socket has its name" } as const

const CHANGED = { is: "kept", reason: "changed", why: "another file has its name" } as const

function unknown(why: string): NonNullable<Opinion> {
  return { is: "unknown", why }
}

/** What a system error says, without the name, so that one trouble is told in one way; a fault of ours is not swallowed. */
function textOf(error: unknown): string {
  if (error instanceof SyscallError) return `${error.syscall}: ${error.code}`
  throw error
}
