import { readdirSync } from "node:fs"
import { join } from "node:path"
import * as v from "valibot"
import { watchPath } from "../store/files/watch.ts"
import { followLines, type Lines } from "../store/logs/lines.ts"
import { hookEventSchema, stateEventSchema } from "../store/state/events.ts"
import type { State } from "../store/state/open.ts"
import { type Places, vmLayout } from "../store/state/places.ts"
import { findRecord, listRecords } from "../store/state/records.ts"

/** One line of `banger events`. `line`: what is no event, as it stands in the file. */
export const eventLineSchema = v.union([
  v.strictObject({ vm: v.string(), ...stateEventSchema.entries }),
  v.strictObject({ vm: v.string(), ...hookEventSchema.entries }),
  v.strictObject({ vm: v.string(), line: v.unknown() }),
])

/** What happened to VMs: one JSON text an event, with the VM's id. */
export interface EventStream {
  /** All there is by now, oldest first. */
  readonly past: readonly string[]
  /** Calls back with each that comes, of VMs to come as well, until the function it returns is called. */
  follow(show: (line: string) => void): () => void
}

/** The events of all VMs on record, or of one. */
export function eventsOf(state: State, reference: string | undefined): EventStream {
  const ids = reference === undefined ? listRecords(state.db).map(({ id }) => id) : [findRecord(state.db, reference).id]
  const files = new Map(ids.map((id) => [id, followLines(vmLayout(state.where, id).events)]))
  const past = [...files].flatMap(([id, lines]) => take(id, lines))
  return {
    past: past.toSorted((a, b) => a.atMs - b.atMs).map(({ text }) => text),
    follow: (show) => follow(state.where, files, { newcomers: reference === undefined, show }),
  }
}

// --- internal ---

interface Line {
  readonly atMs: number
  readonly text: string
}

/** VMs that come are looked for this often, in milliseconds, besides when the kernel tells of them. */
const POLL_MS = 1000

function take(id: string, lines: Lines): readonly Line[] {
  return lines.take().map((line) => {
    const event = parsed(line)
    // An earlier banger wrote its time as `time`.
    const at = event.atMs ?? event.time
    return { atMs: typeof at === "number" ? at : 0, text: JSON.stringify({ vm: id, ...event }) }
  })
}

function parsed(line: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === "object" && value !== null ? { ...value } : { line: value }
  } catch {
    // Cut off by a full disk or a crash: shown as it is.
    return { line }
  }
}

function follow(
  where: Places,
  files: Map<string, Lines>,
  { newcomers, show }: { readonly newcomers: boolean; readonly show: (line: string) => void },
): () => void {
  const stops: (() => void)[] = []
  const watched = new Map<string, () => void>()
  const begin = (id: string, lines: Lines) =>
    watched.set(
      id,
      lines.watch(() => {
        for (const { text } of take(id, lines)) show(text)
      }),
    )
  const end = (id: string, lines: Lines) => {
    watched.get(id)?.()
    watched.delete(id)
    for (const { text } of take(id, lines)) show(text)
    lines.close()
    files.delete(id)
  }
  for (const [id, lines] of files) begin(id, lines)
  if (newcomers) {
    const vms = join(where.state, "vms")
    const look = () => {
      const ids = new Set(idsIn(vms))
      // VMs come and go: nothing is kept of one that was removed.
      for (const [id, lines] of [...files]) if (!ids.has(id)) end(id, lines)
      for (const id of ids) {
        if (files.has(id)) continue
        const lines = followLines(vmLayout(where, id).events)
        files.set(id, lines)
        begin(id, lines)
      }
    }
    const watcher = watchPath(vms, look, { pollMs: POLL_MS, always: true })
    stops.push(() => watcher[Symbol.dispose]())
  }
  return () => {
    for (const stop of [...stops, ...watched.values()]) stop()
  }
}

function idsIn(vms: string): readonly string[] {
  try {
    return readdirSync(vms).filter((name) => !name.startsWith("."))
  } catch {
    // No VM was ever run.
    return []
  }
}
