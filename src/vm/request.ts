import * as v from "valibot"
import { noteRequest } from "../store/state/notes.ts"
import type { State } from "../store/state/open.ts"
import type { VmRecord } from "../store/state/records.ts"

/** How a VM was asked for: with this it can be run again, and finished in the place of its supervisor. */
export const requestSchema = v.strictObject({
  args: v.optional(v.array(v.string()), []),
  /** How many postStop hooks its plugin has; undefined when that is not known. */
  postStop: v.optional(v.number()),
  supervised: v.optional(v.boolean(), true),
  /** Whether its supervisor, or its last one, is one that a service manager starts again. */
  service: v.optional(v.boolean()),
  /** The user that root ran it for, by sudo, and the sha256 of each file of the plugin. */
  asker: v.optional(v.object({ uid: v.number(), files: v.array(v.string()) })),
  /** The user that root's helper runs it for: their plugin's code runs in their own process, and nowhere else. */
  owner: v.optional(v.number()),
})
export type VmRequest = v.InferOutput<typeof requestSchema>

/** How a VM was asked for; the defaults when the record does not tell. */
export function requestOf(record: VmRecord): VmRequest {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), requestSchema), record.request)
  return parsed.success ? parsed.output : { args: [], supervised: true }
}

/** The user that root's helper runs, or has run, a VM for; undefined: whoever this state belongs to. */
export function ownerOf(record: VmRecord): number | undefined {
  // A list of a thousand VMs asks for each: it is in few of them.
  return record.request.includes('"owner"') ? requestOf(record).owner : undefined
}

/** Notes whether the supervisor that a VM has from now on is a service, where that was otherwise. */
export function noteService({ db }: Pick<State, "db">, record: VmRecord, service: boolean): void {
  const request = requestOf(record)
  if ((request.service === true) === service) return
  noteRequest(db, record.id, JSON.stringify({ ...request, service: service ? true : undefined } satisfies VmRequest))
}

/** Notes by their sha256 the files of a plugin that root runs for a user: hooks may have loaded more since the VM was made. */
export function noteFiles({ db }: Pick<State, "db">, record: VmRecord, files: readonly string[]): void {
  const { asker, ...request } = requestOf(record)
  if (asker === undefined || files.every((file) => asker.files.includes(file))) return
  const all = [...new Set([...asker.files, ...files])]
  noteRequest(db, record.id, JSON.stringify({ ...request, asker: { ...asker, files: all } } satisfies VmRequest))
}
