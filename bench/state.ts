import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openJournal } from "../src/lifecycle/journal.ts"
import { close } from "../src/linux/files.ts"
import { pidfdOpen } from "../src/linux/pidfd.ts"
import { identifyChild } from "../src/process/identity.ts"
import { bootId } from "../src/state/bootId.ts"
import { openDatabase } from "../src/state/database.ts"
import type { ProcessIdentity } from "../src/state/handles.ts"
import { vmLayout } from "../src/state/places.ts"
import { changeState, insertRecord } from "../src/state/records.ts"
import { type Benchmark, type Contender, command } from "./compare.ts"

const BANGER = join(import.meta.dir, "../dist/banger")
const SPEC = JSON.stringify({ kernel: "/vmlinux", name: "vm" })

/** `banger ps --json` of 200 VMs that run, against a banger that only says its version. */
export function ps(): Benchmark {
  const dir = mkdtempSync(join(tmpdir(), "banger-bench-"))
  const child = Bun.spawn(["sleep", "3600"])
  const pidfd = pidfdOpen(child.pid)
  fill(dir, 200, identifyChild(child.pid, pidfd))
  close(pidfd)
  return {
    name: "ps",
    about: "banger ps --json of 200 running VMs against banger --version; a difference of at most 50 ms is the aim",
    rounds: 20,
    ours: command("banger ps --json", [BANGER, "ps", "--json"], envOf(dir)),
    reference: command("banger --version", [BANGER, "--version"]),
    dispose() {
      child.kill()
      rmSync(dir, { recursive: true })
    },
  }
}

/** Finishing so many dead VMs, against a smaller number: the ratio tells whether the time grows as their number does. */
export function recover(count: number, smaller: number): Benchmark {
  const dirs: string[] = []
  const contender = (many: number): Contender => {
    let dir = ""
    return {
      label: `${many} dead VMs`,
      prepare() {
        dir = mkdtempSync(join(tmpdir(), "banger-bench-"))
        dirs.push(dir)
        fill(dir, many, dead())
      },
      run: () => command("", [BANGER, "ps", "--reconcile"], envOf(dir)).run(),
    }
  }
  return {
    name: `recover-${count}`,
    about: `finishing ${count} dead VMs against ${smaller}; a ratio of ${smaller / count} is linear, above is better`,
    rounds: 5,
    ours: contender(count),
    reference: contender(smaller),
    dispose() {
      for (const dir of dirs) rmSync(dir, { recursive: true, force: true })
    },
  }
}

// --- internal ---

function envOf(dir: string): Record<string, string | undefined> {
  return { PATH: process.env.PATH, BANGER_STATE_DIR: join(dir, "state"), BANGER_RUNTIME_DIR: join(dir, "run") }
}

/** A process that has ended. */
function dead(): ProcessIdentity {
  const child = Bun.spawn(["sleep", "3600"])
  const pidfd = pidfdOpen(child.pid)
  const identity = identifyChild(child.pid, pidfd)
  child.kill("SIGKILL")
  close(pidfd)
  return identity
}

/** So many VMs on record as running, whose VMM is the one of this identity. */
function fill(dir: string, count: number, identity: ProcessIdentity): void {
  const where = { state: join(dir, "state"), runtime: join(dir, "run") }
  mkdirSync(where.state, { mode: 0o700 })
  const db = openDatabase(where.state)
  const request = JSON.stringify({ postStop: 0 })
  for (let index = 0; index < count; index++) {
    const id = `vm-${String(index).padStart(8, "0")}`
    const plugin = { plugin_path: "/p.ts", plugin_sha256: "s" }
    insertRecord(db, { id, name: `vm-${index}`, vmm: "qemu", boot_id: bootId(), ...plugin, spec: SPEC, request })
    const layout = vmLayout(where, id)
    for (const path of [layout.dir, layout.stage, layout.runtime]) mkdirSync(path, { recursive: true, mode: 0o700 })
    writeFileSync(join(layout.runtime, "qmp.sock"), "")
    for (const file of [layout.consoleLog, layout.lock]) writeFileSync(file, "")
    const journal = openJournal(db, id, layout.handles)
    const files = [
      { kind: "runtime", path: layout.runtime },
      { kind: "stage", path: layout.stage },
    ] as const
    journal.acquire(...files, { kind: "process", identity })
    for (const state of ["staging", "booting", "running"] as const) changeState(db, id, state)
  }
  db.close()
}
