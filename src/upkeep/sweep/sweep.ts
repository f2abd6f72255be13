import { existsSync } from "node:fs"
import { release } from "node:os"
import type { Log } from "banger"
import * as v from "valibot"
import { Failure, isFailure, messageOf } from "../../base/terms/failure.ts"
import { sweepSockets } from "../../host/sockets/sweepSockets.ts"
import { directorySchema, totalsSchema } from "../../host/sockets/verdict.ts"
import { directoryLocks } from "../../store/state/directoryLocks.ts"
import { ownPlaces } from "../../store/state/open.ts"
import { leftoverSchema } from "../leftovers/leftover.ts"
import { isTroublesome, sweepLeftovers } from "../leftovers/sweepLeftovers.ts"
import { hookVeto } from "./candidateHooks.ts"
import { socketOwners } from "./socketOwners.ts"
import { isTrouble, sweepVms, vmSchema } from "./vms.ts"

/** What is to be swept, and how. Times in milliseconds. */
export interface SweepOptions {
  /** Empty: VMs that are dead, what no record speaks for, and banger's own runtime directory, if there is one. */
  readonly dirs: readonly string[]
  readonly dryRun: boolean
  readonly grace: number
  readonly confirm: number
  readonly confirmDelay: number
  readonly depth: number
  readonly plugin: string | undefined
  /** Whether the report is to have each socket, or only those that somebody must know of. */
  readonly all: boolean
  readonly log: Log
}

/** What `banger sweep --json` prints. */
export const sweepReportSchema = v.strictObject({
  dry_run: v.boolean(),
  seconds: v.number(),
  totals: totalsSchema,
  vms: v.array(vmSchema),
  /** What no record speaks for; with directories to sweep there is none looked for. */
  leftovers: v.array(leftoverSchema),
  directories: v.array(directorySchema),
})

export type SweepReport = v.InferOutput<typeof sweepReportSchema>

/**
 * Removes what is dead, and tells what it found. What cannot be told is left alone and counted as an error. Throws a failure
 * when it cannot begin: a plugin that does not load, a runtime directory that is not safe.
 */
export async function sweep(options: SweepOptions): Promise<SweepReport> {
  requireLinux(release())
  const start = performance.now()
  const { dryRun, grace, confirm, confirmDelay, depth, all } = options
  const where = ownPlaces()
  const uid = process.geteuid?.() ?? 0
  const veto = options.plugin === undefined ? undefined : await hookVeto(options.plugin, options.log)
  // Before their sockets are looked at: what is left of them then is nobody's.
  const { vms, leftovers } = options.dirs.length === 0 ? await sweepState(options) : { vms: [], leftovers: [] }
  const own = existsSync(where.runtime) ? [where.runtime] : []
  const { directories, totals } = await sweepSockets({
    dirs: options.dirs.length === 0 ? own : options.dirs,
    rules: { grace, uid: uid === 0 ? undefined : uid, ownerOf: socketOwners(where) },
    dryRun,
    confirm,
    confirmDelay,
    depth,
    veto,
    // A dry run changes nothing, so nobody need be kept out, and no lock made.
    lock: dryRun ? (_, work) => work() : directoryLocks(),
    keep: (verdict, why) => all || verdict === "failed" || why === "unknown" || (dryRun && verdict === "stale"),
  })
  totals.errors += vms.filter(isTrouble).length + leftovers.filter(isTroublesome).length
  const seconds = (performance.now() - start) / 1000
  return { dry_run: dryRun, seconds, totals, vms: [...vms], leftovers: [...leftovers], directories: [...directories] }
}

/** Throws a failure when the kernel is older than what a sweep relies on. Pure. */
export function requireLinux(version: string): void {
  const [major = 0, minor = 0] = version.split(".").map((part) => Number.parseInt(part, 10))
  if (major > 5 || (major === 5 && minor >= 14)) return
  const hint = "before 5.12 bind(2) let go of the directory between a socket's name and its answer"
  throw new Failure("FAILED", `this is Linux ${version}; banger sweep needs 5.14 or newer`, { hint })
}

// --- internal ---

/** VMs that are dead, and then what has no record. Throws a failure when the records cannot be read. */
async function sweepState({ dryRun, grace, log }: SweepOptions): Promise<Pick<SweepReport, "vms" | "leftovers">> {
  try {
    const vms = await sweepVms(dryRun, log)
    return { vms: [...vms], leftovers: [...sweepLeftovers({ dryRun, grace }, log)] }
  } catch (error) {
    const first = isFailure(error) ? error.hint : undefined
    const hint = `${first === undefined ? "" : `${first}\n`}directories can be swept meanwhile: banger sweep DIR`
    const what = "without banger's records nothing can be told of VMs; nothing was swept"
    throw new Failure("FAILED", `${messageOf(error)}\n${what}`, { hint, cause: error })
  }
}
