import { existsSync } from "node:fs"
import { release } from "node:os"
import * as v from "valibot"
import { asFailure, Failure, messageOf } from "../../base/terms/failure.ts"
import { failureSchema } from "../../base/terms/failureSchema.ts"
import type { Log } from "../../base/terms/log.ts"
import { directorySchema, type SweptDirectory, totalsSchema } from "../../host/sockets/report.ts"
import { sweepSockets } from "../../host/sockets/sweepSockets.ts"
import { directoryLocks } from "../../store/state/directoryLocks.ts"
import { ownPlaces } from "../../store/state/open.ts"
import { isTrouble, leftoverSchema } from "../leftovers/leftover.ts"
import { sweepLeftovers } from "../leftovers/sweepLeftovers.ts"
import { hookVeto } from "./candidateHooks.ts"
import { socketOwners } from "./socketOwners.ts"
import { sweepVms, vmSchema } from "./vms.ts"

// This room is `banger sweep`: dead VMs first, then what no record names, then sockets. Its rule: what cannot be told is
// left alone, and counted as an error; one failure does not stop the rest.

/** What is to be swept, and how. Times in milliseconds. */
export interface SweepOptions {
  /** Empty: dead VMs, what no record names, and banger's own runtime directory, if there is one. */
  readonly dirs: readonly string[]
  readonly dryRun: boolean
  readonly grace: number
  readonly confirm: number
  readonly confirmDelay: number
  readonly depth: number
  readonly plugin: string | undefined
  /** Whether the report is to have every socket, or only those that somebody must know of. */
  readonly all: boolean
  readonly log: Log
}

/** What `banger sweep --json` prints. */
export const sweepReportSchema = v.strictObject({
  dryRun: v.boolean(),
  durationSeconds: v.number(),
  /** Of sockets; `errors` also counts VMs, leftovers and directories. */
  totals: totalsSchema,
  vms: v.array(vmSchema),
  /** What no record speaks for. Empty when directories were named. */
  leftovers: v.array(leftoverSchema),
  directories: v.array(directorySchema),
  /** What the command fails with. */
  error: v.optional(failureSchema),
})

export type SweepReport = v.InferOutput<typeof sweepReportSchema>

/**
 * Removes what is dead, and tells what it found. What cannot be told is left alone and counted as an error. Throws a failure
 * when it cannot begin: the plugin does not load, the records cannot be read.
 */
export async function sweep(options: SweepOptions): Promise<SweepReport> {
  requireLinux(release())
  const start = performance.now()
  const { dryRun, grace, confirm, confirmDelay, depth, all } = options
  const where = ownPlaces()
  const uid = process.geteuid?.() ?? 0
  const veto = options.plugin === undefined ? undefined : await hookVeto(options.plugin, options.log)
  // Before the sockets: after this, a socket that is left of a dead VM is in no record.
  const { vms, leftovers } = options.dirs.length === 0 ? await sweepState(options) : { vms: [], leftovers: [] }
  const own = existsSync(where.runtime) ? [where.runtime] : []
  const { directories: found, totals } = await sweepSockets({
    dirs: options.dirs.length === 0 ? own : options.dirs,
    rules: { grace, uid: uid === 0 ? undefined : uid, ownerOf: socketOwners(where) },
    dryRun,
    confirm,
    confirmDelay,
    depth,
    veto,
    // A dry run changes nothing: it excludes nobody, and makes no lock.
    lock: dryRun ? (_, work) => work() : directoryLocks(),
    keep: (is) => all || is === "removed" || isTrouble({ is }) || (dryRun && is === "dead"),
  })
  const directories = options.dirs.length === 0 ? found.map(spared) : found
  totals.errors -= directories.filter(({ is }) => is === "kept").length
  totals.errors += [...vms, ...leftovers].filter(isTrouble).length
  const durationSeconds = (performance.now() - start) / 1000
  return { dryRun, durationSeconds, totals, vms, leftovers, directories: [...directories] }
}

/** Throws a failure when the kernel is older than what a sweep relies on. Pure. */
export function requireLinux(version: string): void {
  const [major = 0, minor = 0] = version.split(".").map((part) => Number.parseInt(part, 10))
  if (major > 5 || (major === 5 && minor >= 14)) return
  const why = "before 5.12, bind(2) unlocked the directory between showing a socket's name and making it answer"
  const hint = "install a newer kernel of your distribution, and boot it"
  throw new Failure("HOST_LACKS", `this is Linux ${version}; banger sweep needs 5.14 or newer: ${why}`, { hint })
}

// --- internal ---

/** What to do where banger's own directory cannot be swept. */
const ELSEWHERE =
  "nothing is lost: sockets of VMs go with them; on a tmpfs they are looked at too: BANGER_RUNTIME_DIR=/dev/shm/banger"

/**
 * banger's own runtime directory on a file system where no socket can be judged, as in a container without a tmpfs on /run, is no error:
 * what is in it is on record, or a leftover that is removed as such.
 */
function spared(directory: SweptDirectory): SweptDirectory {
  const { error, ...rest } = directory
  if (directory.is !== "refused" || error?.code !== "UNSUPPORTED") return directory
  return { ...rest, is: "kept", hint: ELSEWHERE }
}

/** Dead VMs, and then what has no record. Throws a failure when the records cannot be read. */
async function sweepState({ dryRun, grace, log }: SweepOptions): Promise<Pick<SweepReport, "vms" | "leftovers">> {
  try {
    const vms = await sweepVms(dryRun, log)
    return { vms: [...vms], leftovers: [...sweepLeftovers({ dryRun, grace }, log)] }
  } catch (error) {
    const { code, hint: first, subject } = asFailure(error, "BAD_STATE")
    const hint = `${first === undefined ? "" : `${first}\n`}directories can be swept meanwhile: banger sweep DIR`
    const what = "without banger's records nothing can be told of VMs; nothing was swept"
    throw new Failure(code, `${messageOf(error)}\n${what}`, { hint, subject, cause: error })
  }
}
