import { fileAgeMs } from "../../base/linux/clock.ts"
import { inodeOf } from "../../base/linux/files.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { isFailure, whyOf } from "../../base/terms/failure.ts"
import { textOfPath } from "../../base/terms/printable.ts"
import { closeDirectory, type Directory, joinPath, openDirectory, openSubdirectory } from "./directory.ts"
import type { Opinion } from "./judge.ts"
import { overlayLayers } from "./overlays.ts"
import { countSocket, noTotals, type SweptDirectory, type SweptSocket, type Totals } from "./report.ts"
import { type Settings, sweepDirectory } from "./sweepDirectory.ts"

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
 * Sweeps directories and what is below them, one after the other. Nothing that goes wrong with one of them keeps the
 * others from being swept: it is in the report, and counted as an error.
 */
export async function sweepSockets(sweep: SocketSweep): Promise<SocketReport> {
  const directories: SweptDirectory[] = []
  const totals = noTotals()
  const layers = sweep.dirs.length === 0 ? new Set<string>() : overlayLayers()
  const tree: Tree = { sweep, layers, directories, totals }
  for (const dir of sweep.dirs) {
    const open = () => openDirectory(dir, layers)
    await inDirectory(tree, { path: new TextEncoder().encode(dir), depth: sweep.depth }, open)
  }
  return { directories, totals }
}

// --- internal ---

interface Tree {
  readonly sweep: SocketSweep
  readonly layers: ReadonlySet<string>
  readonly directories: SweptDirectory[]
  readonly totals: Totals
}

type Sockets = SweptDirectory["sockets"]

/** Sweeps one directory, then what is in it. `undefined` from `open`: there is none any more. */
async function inDirectory(
  tree: Tree,
  { path: named, depth }: { readonly path: Uint8Array; readonly depth: number },
  open: () => Directory | undefined,
): Promise<void> {
  let directory: Directory | undefined
  const sockets: Sockets = []
  const report = (is: SweptDirectory["is"], more: Partial<SweptDirectory> = {}) => {
    tree.directories.push({ ...pathOf(directory?.path ?? named), is, ...more, sockets })
  }
  try {
    directory = open()
    if (directory === undefined) return
    const opened = directory
    const { removal, inexact, fileSystem } = opened
    const about = { fileSystem, removal, why: inexact?.detail, hint: inexact?.hint }
    const below = await tree.sweep.lock(inodeOf(opened.stat), () => {
      return sweepDirectory(opened, tree.sweep, (name, stat, opinion) => {
        countSocket(tree.totals, opinion)
        if (tree.sweep.keep(opinion.is)) sockets.push(describe(joinPath(opened.path, name), stat, opinion))
      })
    })
    if (below === undefined) return report("busy", { why: "another sweep is in it" })
    report("swept", about)
    if (depth === 0) return
    for (const name of below) {
      const path = joinPath(opened.path, name)
      await inDirectory(tree, { path, depth: depth - 1 }, () => openSubdirectory(opened, name, tree.layers))
    }
  } catch (error) {
    tree.totals.errors++
    report(isFailure(error) ? "refused" : "failed", whyOf(error))
  } finally {
    if (directory !== undefined) closeDirectory(directory)
  }
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
