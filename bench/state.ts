import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { identifyChild } from "../src/host/process/identity.ts"
import { openPid } from "../src/host/process/pidRef.ts"
import type { Places } from "../src/store/state/places.ts"
import { deadProcess, fill } from "../test/fixtures/manyVms.ts"
import { type Benchmark, type Contender, command } from "./compare.ts"

const BANGER = join(import.meta.dir, "../dist/banger")

/** `banger ps --json` of 200 running VMs, against a banger that only prints its version. */
export function ps(): Benchmark {
  const dir = mkdtempSync(join(tmpdir(), "banger-bench-"))
  const child = Bun.spawn(["sleep", "3600"])
  using held = openPid(child.pid)
  if (held === undefined) throw new Error("the child has ended")
  fill(placesOf(dir), 200, identifyChild(held))
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

/** Finishing `count` dead VMs, against a smaller number: the ratio tells whether the time grows in step with the number. */
export function recover(count: number, smaller: number): Benchmark {
  const dirs: string[] = []
  const contender = (many: number): Contender => {
    let dir = ""
    return {
      label: `${many} dead VMs`,
      prepare() {
        dir = mkdtempSync(join(tmpdir(), "banger-bench-"))
        dirs.push(dir)
        fill(placesOf(dir), many, deadProcess())
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

function placesOf(dir: string): Places {
  return { state: join(dir, "state"), runtime: join(dir, "run") }
}

function envOf(dir: string): Record<string, string | undefined> {
  return { PATH: process.env.PATH, BANGER_STATE_DIR: join(dir, "state"), BANGER_RUNTIME_DIR: join(dir, "run") }
}
