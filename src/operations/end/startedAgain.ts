import * as v from "valibot"
import type { Stop } from "../../store/state/notes.ts"
import type { VmRecord } from "../../store/state/records.ts"
import { isFinal } from "../../store/state/vmState.ts"
import { ownerOf, requestOf } from "../../vm/request.ts"

/**
 * The VMs that a boot of the host starts again, of all records, newest first, once what the last boot has ended is finished: of each
 * name the newest that ran, unless a newer start that failed was kept for inspection, or it is a service that systemd starts. None that root's helper ran for a
 * user: its hooks run in that user's process. With
 * `"always"` unless a user has removed the last of the name, with `"unless-stopped"` unless they have stopped it. Pure.
 */
export function startedAgain(records: readonly VmRecord[], stops: ReadonlyMap<string, Stop>): readonly VmRecord[] {
  return newestThatRan(records.filter((record) => ownerOf(record) === undefined)).filter((record) => {
    if (record.keptForInspection || requestOf(record).service === true) return false
    // It runs, or what became of it is not known.
    if (!isFinal(record.state)) return false
    const stop = stops.get(record.name)
    const policy = policyOf(record)
    return (policy === "always" && stop !== "removed") || (policy === "unless-stopped" && stop === undefined)
  })
}

/** Of each name what counts: a start that failed changes nothing of what is to run. Newest first, as the records are. Pure. */
export function newestThatRan(records: readonly VmRecord[]): readonly VmRecord[] {
  const counting = records.filter(
    (record) => record.keptForInspection || !isFinal(record.state) || record.running_at !== null,
  )
  return [...new Map([...counting].reverse().map((record) => [record.name, record])).values()]
}

/** The names that a VM is to start after, as its plugin wrote it; none where the record does not tell. Pure. */
export function afterOf({ spec }: VmRecord): readonly string[] {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), afterSchema), spec)
  return parsed.success ? [parsed.output.after].flat() : []
}

// --- internal ---

const restartSchema = v.object({
  restart: v.optional(v.union([v.string(), v.object({ policy: v.optional(v.string()) })])),
})
const afterSchema = v.object({ after: v.optional(v.union([v.string(), v.array(v.string())]), []) })

/** As the plugin wrote it; undefined where the record does not tell. */
function policyOf({ spec }: VmRecord): string | undefined {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), restartSchema), spec)
  const restart = parsed.success ? parsed.output.restart : undefined
  return typeof restart === "object" ? (restart.policy ?? "on-failure") : restart
}
