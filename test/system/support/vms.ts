import { Database } from "bun:sqlite"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { banger, type Ended, fixture } from "./banger.ts"
import type { Doubles } from "./doubles.ts"
import type { Place } from "./place.ts"

/** The words that run a VM on the doubles; `fields` are of its spec. */
export function doubleWords(place: Place, flags: readonly string[], script = "PRINT[up]", fields: object = {}) {
  return ["run", ...flags, fixture("double"), "--", place.dir, script, JSON.stringify({ ...place.spec, ...fields })]
}

/** Runs one in the background. */
export function runDouble(
  place: Place,
  doubles: Doubles,
  flags: readonly string[] = ["--detach"],
  script?: string,
  fields: object = {},
): Promise<Ended> {
  return banger(place, doubleWords(place, flags, script, fields), { ...doubles.env })
}

/** The ids of VMs that a file of the plugin's notes. */
export function noted(place: Place, file: "booted" | "ended"): readonly string[] {
  const path = join(place.dir, file)
  return existsSync(path)
    ? readFileSync(path, "utf8")
        .split("\n")
        .filter((line) => line !== "")
    : []
}

/** What `banger ps --json` tells of the VMs. */
export async function listed(place: Place, ...flags: readonly string[]) {
  const { stdout } = await banger(place, ["ps", "--json", ...flags])
  return JSON.parse(stdout) as {
    id: string
    name: string
    state: string
    liveness: string
    pid?: number
    supervisor?: number
    why?: string
    hint?: string
  }[]
}

/** Changes a place's state database behind banger's back. */
export function sql(place: Place, statement: string): void {
  const db = new Database(join(place.state, "state.db"))
  db.run("pragma busy_timeout = 5000")
  db.run(statement)
  db.close()
}

/** What a place's state database has. */
export function rowsOf(place: Place, select: string): readonly unknown[] {
  const db = new Database(join(place.state, "state.db"))
  db.run("pragma busy_timeout = 5000")
  try {
    return db.query(select).all()
  } finally {
    db.close()
  }
}
