import { Database } from "bun:sqlite"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { banger, type Ended, fixture, until } from "./banger.ts"
import { type Doubles, kernelOf } from "./doubles.ts"
import type { Place } from "./place.ts"

/** The words that run a VM on Firecracker, whose guest does what `script` says; `fields` are of its spec. */
export function doubleWords(place: Place, flags: readonly string[], script = "PRINT[up]", fields: object = {}) {
  const kernel = kernelOf(place.dir, script, `vmlinux-${Bun.hash(script).toString(16)}`)
  return ["run", ...flags, fixture("double"), "--", place.dir, kernel, JSON.stringify({ ...place.spec, ...fields })]
}

/** Runs one in the background. */
export function runDouble(
  place: Place,
  firecracker: Pick<Doubles, "env">,
  flags: readonly string[] = ["--detach"],
  script?: string,
  fields: object = {},
): Promise<Ended> {
  return banger(place, doubleWords(place, flags, script, fields), { ...firecracker.env })
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

/** Signals a process of a VM. Throws where it has none. */
export function signal(pid: number | undefined, name: NodeJS.Signals): void {
  process.kill(known(pid), name)
}

/** Ends a process of a VM, and waits until it is gone. */
export async function killed(pid: number | undefined): Promise<void> {
  signal(pid, "SIGKILL")
  await until(() => !isAlive(pid))
}

/** Whether anything of a process runs: a zombie's other threads may, and hold what it held. */
export function isAlive(pid: number | undefined): boolean {
  const proc = `/proc/${known(pid)}`
  try {
    return !/\) Z /.test(readFileSync(`${proc}/stat`, "utf8")) || readdirSync(`${proc}/task`).length > 1
  } catch {
    // It has gone.
    return false
  }
}

// --- internal ---

/** A pid that is one: to kill(2), 0 is every process of the tests' own group. */
function known(pid: number | undefined): number {
  if (pid === undefined || pid <= 0) throw new Error("the VM has no such process")
  return pid
}
