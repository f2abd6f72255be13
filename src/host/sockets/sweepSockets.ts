import { fileAgeMs } from "../../base/linux/clock.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { inodeOf, statAt } from "../../base/linux/files.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { isFailure, whyOf } from "../../base/terms/failure.ts"
import { textOfPath } from "../../base/terms/printable.ts"
import { closeDirectory, type Directory, joinPath, openDirectory, openSubdirectory } from "./directory.ts"
import { type Candidate, isSocket, type Opinion } from "./judge.ts"
import { overlayLayers } from "./overlays.ts"
import { countSocket, noTotals, type SweptDirectory, type SweptSocket, type Totals } from "./report.ts"
import { lookAgain, lookFirst, roundsOf, type Settings, type Tell } from "./sweepDirectory.ts"

// The room sockets: finds the unix sockets in a directory that nobody is bound to, and removes exactly those.
// The rule: only the kernel's answer that nobody is bound to this inode makes a socket dead; whatever cannot be told keeps it.

/** What is to be swept, and how. */
export interface SocketSweep extends Settings {
  readonly dirs: readonly string[]
  /** How many levels of subdirectories are swept too. */
  readonly depth: number
  /** Keeps other sweeps out of a directory while `work` is done; undefined when another one is in it. */
  readonly lock: <T>(inode: string, work: () => Promise<T>) => Promise<T | undefined>
  /** Which sockets are to be in the report; all are counted. */
  readonly keep: (is: SweptSocket["is"]) => boolean
}

/** What was found and done. */
export interface SocketReport {
  readonly directories: readonly SweptDirectory[]
  readonly totals: Totals
}

/**
 * Sweeps directories and what is below them: a first look into all, one wait, a later look into those that have what may be dead. So
 * the time between two looks is paid once, however many directories there are. No directory, lock or descriptor is kept over a wait,
 * and a later look repeats everything. Nothing that goes wrong with one of them keeps the others from being swept: it is in the
 * report, and counted as an error.
 */
export async function sweepSockets(sweep: SocketSweep): Promise<SocketReport> {
  const directories: SweptDirectory[] = []
  const totals = noTotals()
  const layers = sweep.dirs.length === 0 ? new Set<string>() : overlayLayers()
  const tree: Tree = { sweep, layers, directories, totals, pending: [], pendingCount: 0 }
  for (const dir of sweep.dirs) {
    const open = () => openDirectory(dir, layers)
    await inDirectory(tree, { path: new TextEncoder().encode(dir), depth: sweep.depth }, open)
  }
  await settle(tree)
  return { directories, totals }
}

// --- internal ---

/** With more sockets than these that may be dead, those are settled before others are looked for: what is kept is bounded. */
const PENDING_MAX_COUNT = 50_000

interface Tree {
  readonly sweep: SocketSweep
  readonly layers: ReadonlySet<string>
  readonly directories: SweptDirectory[]
  readonly totals: Totals
  /** The directories that have something to look at again. */
  pending: Pending[]
  pendingCount: number
}

interface Pending {
  readonly open: () => Directory | undefined
  /** Its `device:inode`. */
  readonly inode: string
  readonly report: SweptDirectory
  dead: readonly Candidate[]
}

/** Looks at one directory, then at what is in it. `undefined` from `open`: there is none any more. */
async function inDirectory(
  tree: Tree,
  { path: named, depth }: { readonly path: Uint8Array; readonly depth: number },
  open: () => Directory | undefined,
): Promise<void> {
  let directory: Directory | undefined
  const report: SweptDirectory = { ...pathOf(named), is: "swept", sockets: [] }
  try {
    directory = open()
    if (directory === undefined) return
    const opened = directory
    tree.directories.push(Object.assign(report, pathOf(opened.path)))
    const { removal, inexact, fileSystem } = opened
    const inode = inodeOf(opened.stat)
    const look = async () => lookFirst(opened, tree.sweep, teller(tree, opened, report))
    const found = await tree.sweep.lock(inode, look)
    if (found === undefined) return void Object.assign(report, BUSY)
    Object.assign(report, { fileSystem, removal }, inexact && { why: inexact.detail, hint: inexact.hint })
    checkRemoved(opened, report)
    if (found.dead.length > 0) {
      tree.pending.push({ open, inode, report, dead: found.dead })
      tree.pendingCount += found.dead.length
    }
    if (depth === 0) return
    for (const name of found.subdirectories) {
      const path = joinPath(opened.path, name)
      const below = (): Directory | undefined => {
        // By its parent, which is opened anew: none is held over a wait.
        const parent = open()
        if (parent === undefined) return undefined
        try {
          return openSubdirectory(parent, name, tree.layers)
        } finally {
          closeDirectory(parent)
        }
      }
      await inDirectory(tree, { path, depth: depth - 1 }, below)
    }
  } catch (error) {
    tree.totals.errors++
    if (directory === undefined) tree.directories.push(report)
    Object.assign(report, { is: isFailure(error) ? "refused" : "failed" }, whyOf(error))
  } finally {
    if (directory !== undefined) closeDirectory(directory)
    if (tree.pendingCount > PENDING_MAX_COUNT) await settle(tree)
  }
}

const BUSY = { is: "busy", why: "another sweep is in it" } as const

/** Waits and looks again, as often as the sweep has it, at all that is pending. */
async function settle(tree: Tree): Promise<void> {
  const { sweep } = tree
  const rounds = roundsOf(sweep)
  for (let round = 2; round <= rounds && tree.pending.length > 0; round++) {
    if (round <= sweep.confirm) await Bun.sleep(sweep.confirmDelay)
    const last = round === rounds
    for (const each of tree.pending) each.dead = await again(tree, each, last)
    tree.pending = tree.pending.filter(({ dead }) => dead.length > 0)
  }
  tree.pending = []
  tree.pendingCount = 0
}

async function again(tree: Tree, { open, inode, report, dead }: Pending, last: boolean): Promise<readonly Candidate[]> {
  let directory: Directory | undefined
  try {
    directory = open()
    const opened = directory
    if (opened === undefined || inodeOf(opened.stat) !== inode) {
      for (const { name, stat } of dead) teller(tree, { path: pathBytes(report) }, report)(name, stat, { is: "gone" })
      return []
    }
    const tell = teller(tree, opened, report)
    const left = await tree.sweep.lock(inode, () => lookAgain(opened, tree.sweep, { tell, dead, last }))
    if (left === undefined) Object.assign(report, BUSY)
    else checkRemoved(opened, report)
    return left ?? []
  } catch (error) {
    tree.totals.errors++
    Object.assign(report, { is: isFailure(error) ? "refused" : "failed" }, whyOf(error))
    return []
  } finally {
    if (directory !== undefined) closeDirectory(directory)
  }
}

function teller(tree: Tree, { path }: Pick<Directory, "path">, { sockets }: SweptDirectory): Tell {
  return (name, stat, opinion) => {
    countSocket(tree.totals, opinion)
    if (tree.sweep.keep(opinion.is)) sockets.push(describe(joinPath(path, name), stat, opinion))
  }
}

/** Says of what was removed whether a service is back by now. */
function checkRemoved({ fd }: Directory, { sockets }: SweptDirectory): void {
  for (const socket of sockets) {
    if (socket.is !== "removed" || socket.cameBack !== undefined) continue
    const name = pathBytes(socket)
    const now = unlessAbsent(() => statAt(fd, name.subarray(name.lastIndexOf(0x2f) + 1)))
    socket.cameBack = now !== undefined && isSocket(now)
  }
}

function pathBytes({ path, pathBase64 }: Pick<SweptSocket, "path" | "pathBase64">): Uint8Array {
  return pathBase64 === undefined ? new TextEncoder().encode(path) : Buffer.from(pathBase64, "base64")
}

function describe(path: Uint8Array, stat: Stat | undefined, opinion: NonNullable<Opinion>): SweptSocket {
  return {
    ...pathOf(path),
    ...opinion,
    ...(stat === undefined
      ? {}
      : { inode: inodeOf(stat), uid: stat.uid, ageSeconds: Math.round(fileAgeMs(stat) / 1000) }),
  }
}

function pathOf(path: Uint8Array): Pick<SweptSocket, "path" | "pathBase64"> {
  const { text, exact } = textOfPath(path)
  return exact ? { path: text } : { path: text, pathBase64: Buffer.from(path).toString("base64") }
}
