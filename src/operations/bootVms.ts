import { readFileSync } from "node:fs"
import { availableParallelism } from "node:os"
import { join } from "node:path"
import * as v from "valibot"
import { ignoring } from "../base/linux/errors.ts"
import { unlinkAt } from "../base/linux/files.ts"
import { AT_FDCWD } from "../base/linux/guards.ts"
import { Failure, joinFailures, messageOf } from "../base/terms/failure.ts"
import { type Log, prefixed } from "../base/terms/log.ts"
import { replaceFile } from "../store/files/replaceFile.ts"
import type { State } from "../store/state/open.ts"
import { listRecords, listUnfinished, type VmRecord } from "../store/state/records.ts"
import { isFinal } from "../store/state/vmState.ts"
import { recoverAll } from "../supervisor/recover.ts"
import { requestOf } from "../vm/request.ts"
import { statusOf } from "../vm/status.ts"
import { bootOrder } from "./bootOrder.ts"
import { detach } from "./detach.ts"
import { slotsOf } from "./end/slots.ts"
import { rerunArgv } from "./restart.ts"

/**
 * After a boot of the host: finishes what that has ended (postStop hooks once), then starts again, in the background and as many
 * at a time as there are processors, the VMs whose restart policy says so: each when those that it is `after` run, or have failed.
 * Returns what failed, told already; one failure stops no other.
 */
export async function bootVms(state: State, log: Log): Promise<Failure | undefined> {
  const before = listRecords(state.db)
  const found = await recoverAll(state, log)
  const lived = new Set(found.flatMap(({ id, is }) => (is === "recovered" ? [id] : [])))
  const failures = found.flatMap(({ id, why, is }) =>
    is === "failed" || is === "unknown" ? [new Failure("FAILED", `${id}: ${why}`, { subject: id })] : [],
  )
  for (const { message } of failures) log.error(message)
  const slots = slotsOf(availableParallelism())
  const start = async (record: VmRecord) => {
    using _turn = await slots.take()
    const said = prefixed(log, record.name)
    try {
      const vm = await detach(
        "__run",
        log.json === undefined ? rerunArgv(record) : ["--json", ...rerunArgv(record)],
        said.info,
      )
      if (typeof vm !== "number") return said.info(`runs again (${vm.id})`)
      throw new Failure("START_FAILED", `${record.name} was not started again (exit code ${vm})`, {
        subject: record.name,
      })
    } catch (error) {
      said.error(messageOf(error))
      failures.push(new Failure("START_FAILED", messageOf(error), { subject: record.name, cause: error }))
    }
  }
  const again = startedAgain(before, { lived, shutDown: readShutdown(state) })
  const { places, dropped } = bootOrder(again.map((vm) => ({ vm, name: vm.name, after: afterOf(vm) })))
  for (const { name, after } of dropped)
    log.warn(`${name} is to start after ${after}, which itself waits for ${name}: ${name} does not wait`)
  const started = new Map<string, Promise<void>>()
  for (const { vm, waitsFor } of places)
    started.set(
      vm.name,
      Promise.all(waitsFor.map((name) => started.get(name))).then(() => start(vm)),
    )
  await Promise.all(started.values())
  // Only now: a boot that is cut short begins anew.
  ignoring(["ENOENT"], () => unlinkAt(AT_FDCWD, shutdownPath(state)))
  return failures.length > 1 ? joinFailures(`${failures.length} VMs`, failures) : failures[0]
}

/** The VMs that `banger system shutdown` stops: all that have not ended but services that are supervised, which systemd stops. */
export function vmsToShutDown(state: State): readonly VmRecord[] {
  return listUnfinished(state.db).filter(
    (record) => requestOf(record).service !== true || statusOf(state, record).supervisor === undefined,
  )
}

/** Before the host stops all VMs: notes which live, since it is not their users who stop them. */
export function noteShutdown(state: State): void {
  const living = vmsToShutDown(state).filter((record) => !isFinal(record.state) || record.restart_at !== null)
  const ids = [...new Set([...readShutdown(state), ...living.map(({ id }) => id)])]
  replaceFile(shutdownPath(state), `${JSON.stringify(ids)}\n`)
}

/** How VMs have ended. */
export interface Ends {
  /** They lived when the host went down, and were found dead. */
  readonly lived: ReadonlySet<string>
  /** They were stopped because the host went down. */
  readonly shutDown: ReadonlySet<string>
}

/**
 * The VMs that a boot of the host starts again, of all records from before it, newest first: of each name the newest that
 * ran, unless a newer start that failed was kept for inspection, or it is a service that systemd starts. With `"always"` in any case, with
 * `"unless-stopped"` unless a user had stopped it. Pure.
 */
export function startedAgain(records: readonly VmRecord[], { lived, shutDown }: Ends): readonly VmRecord[] {
  const isDown = ({ id }: VmRecord) => lived.has(id) || shutDown.has(id)
  // A start that failed changes nothing of what is to run.
  const counting = records.filter(
    (record) => record.keptForInspection || !isFinal(record.state) || record.running_at !== null || isDown(record),
  )
  const newest = [...new Map([...counting].reverse().map((record) => [record.name, record])).values()]
  return newest.filter((record) => {
    if (record.keptForInspection || requestOf(record).service === true) return false
    const down = isDown(record)
    // It runs, or what became of it is not known.
    if (!isFinal(record.state) && !down) return false
    const policy = policyOf(record)
    return policy === "always" || (policy === "unless-stopped" && (down || !stoppedByUser(record)))
  })
}

// --- internal ---

const shutdownSchema = v.pipe(v.string(), v.parseJson(), v.array(v.string()))
const restartSchema = v.object({
  restart: v.optional(v.union([v.string(), v.object({ policy: v.optional(v.string()) })])),
})
const afterSchema = v.object({ after: v.optional(v.union([v.string(), v.array(v.string())]), []) })
const exitSchema = v.object({ requested: v.boolean() })

function shutdownPath({ where }: State): string {
  return join(where.state, "shutdown.json")
}

function readShutdown(state: State): ReadonlySet<string> {
  try {
    return new Set(v.parse(shutdownSchema, readFileSync(shutdownPath(state), "utf8")))
  } catch {
    // The host was not shut down, or lost its power; or whatever stands there is not ours to understand.
    return new Set()
  }
}

/** As the plugin wrote it; undefined where the record does not tell. */
function policyOf({ spec }: VmRecord): string | undefined {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), restartSchema), spec)
  const restart = parsed.success ? parsed.output.restart : undefined
  return typeof restart === "object" ? (restart.policy ?? "on-failure") : restart
}

/** As the plugin wrote it; none where the record does not tell. */
function afterOf({ spec }: VmRecord): readonly string[] {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), afterSchema), spec)
  return parsed.success ? [parsed.output.after].flat() : []
}

function stoppedByUser({ exit }: VmRecord): boolean {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), exitSchema), exit)
  return parsed.success && parsed.output.requested
}
