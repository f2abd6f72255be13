import { expect } from "bun:test"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, fixture } from "../../system/support/banger.ts"
import { kernelOf } from "../../system/support/doubles.ts"
import { type Place, records } from "../../system/support/place.ts"
import { doubleWords } from "../../system/support/vms.ts"

/** How a VM on the doubles is run: flags of `banger run`, what its guest does, and fields of its spec. */
export interface Boot {
  readonly flags?: readonly string[]
  readonly script?: string
  readonly [field: string]: unknown
}

/** The words that run it; in the background unless `flags` say otherwise. */
export function bootWords(place: Place, { flags = ["--detach"], script, ...fields }: Boot = {}): readonly string[] {
  return doubleWords(place, flags, script, fields)
}

/** A VM that was run: its id, and the processes of its VMM and its supervisor, 0 where it has none. */
export interface Booted {
  readonly id: string
  readonly pid: number
  readonly supervisor: number
}

/** Runs one, and fails where that fails. */
export async function boot(place: Place, how: Boot = {}): Promise<Booted> {
  const { stdout, stderr, exit } = await banger(place, bootWords(place, how))
  expect({ stdout, stderr, exit }).toMatchObject({ stdout: `${how.name ?? "double"}\n`, exit: 0 })
  return newest(place)
}

/** Runs one whose banger leaves it: no supervisor. */
export function bootUnsupervised(place: Place, how: Boot = {}): Promise<Booted> {
  return boot(place, { flags: ["--supervise=none"], ...how })
}

/** The words that run one whose hooks can be held: `hold(place, hook)`. */
export function heldWords(place: Place, { flags = ["--detach"], ...fields }: Boot = {}): readonly string[] {
  const kernel = kernelOf(place.dir, "PRINT[up]")
  return ["run", ...flags, fixture("held"), "--", place.dir, kernel, JSON.stringify({ ...place.spec, ...fields })]
}

/** Runs one whose hooks can be held, and fails where that fails. */
export async function bootHeld(place: Place, how: Boot = {}): Promise<Booted> {
  expect(await banger(place, heldWords(place, how))).toMatchObject({ stdout: `${how.name ?? "held"}\n`, exit: 0 })
  return newest(place)
}

/** Has a hook of such VMs wait from now on, or block its thread; undefined lets all go on. */
export function hold(place: Place, hook: HookName | `${HookName} blocked` | undefined): void {
  writeFileSync(join(place.dir, "hold"), hook ?? "")
}

type HookName = "configure" | "preBoot" | "postBoot" | "preStop" | "postStop"

/** The hooks that ran of such a VM, in order. */
export function hooksOf(place: Place): readonly string[] {
  const path = `${place.dir}/hooks`
  return existsSync(path) ? readFileSync(path, "utf8").trimEnd().split("\n") : []
}

// --- internal ---

/** As its journal and its lock tell, which a command would take long to. */
function newest(place: Place): Booted {
  const [record] = records(place)
  const { id = "", handles = "[]" } = record ?? {}
  const journal: readonly { kind: string; identity?: { pid: number } | null }[] = JSON.parse(handles)
  const lock = readFileSync(join(place.state, "vms", id, "lock"), "utf8")
  const holder: { identity?: { pid: number } } = lock === "" ? {} : JSON.parse(lock)
  return {
    id,
    pid: journal.find(({ kind }) => kind === "process")?.identity?.pid ?? 0,
    supervisor: holder.identity?.pid ?? 0,
  }
}
