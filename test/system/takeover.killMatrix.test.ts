import { expect, test } from "bun:test"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, type Ended, fixture, start, until } from "./support/banger.ts"
import { kernelOf } from "./support/doubles.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, type Place, processesOf, records } from "./support/place.ts"

// The supervisor is killed at every moment of a whole run at which something was written down, and each time what is
// left is put in order by a banger that knows nothing but what is on disk.

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()
const killAt = join(import.meta.dir, "../fixtures/killAt.ts")

/** What is run: a guest that says `boot` and a word once it is up, and again when it is sent `again`. */
interface Life {
  readonly fields: (dir: string) => object
  readonly again: string
  readonly env: () => Readonly<Record<string, string>>
}

const linux: Life = { fields: () => ({ vmm: "qemu" }), again: "again", env: () => ({}) }
const tiny: Life = {
  fields: (dir) => ({ vmm: "firecracker", accel: "auto", kernel: kernelOf(dir, "PRINT[boot tiny]") }),
  // It says all back.
  again: "boot tiny",
  env: () => firecracker.env,
}
let life = linux

/** A run from its start to the end that SIGINT asks for, or to the moment it is killed at. */
async function run(at: Place, moment: number, moments?: string): Promise<Ended> {
  const env = {
    ...life.env(),
    BANGER_TEST_KILL_AT: String(moment),
    ...(moments === undefined ? {} : { BANGER_TEST_MOMENTS: moments }),
  }
  const notes = join(at.dir, "notes")
  writeFileSync(notes, "")
  const running = start(at, ["run", fixture("life"), "--", notes, JSON.stringify(life.fields(at.dir))], env, {
    through: [process.execPath, killAt],
    self: false,
  })
  await Promise.race([running.shows("boot "), running.ended]).catch(() => {})
  running.signal("SIGINT")
  return running.ended
}

function momentsOf(at: Place): Promise<readonly string[]> {
  const list = join(at.dir, "moments")
  writeFileSync(list, "")
  return run(at, 0, list).then(() => readFileSync(list, "utf8").trimEnd().split("\n"))
}

const notesOf = (at: Place, name: string) =>
  readFileSync(join(at.dir, "notes"), "utf8")
    .split("\n")
    .filter((line) => line.startsWith(name)).length

/** The ids of the guest's boots that its console tells. */
function bootIds(at: Place, id: string): readonly string[] {
  const log = join(at.state, "vms", id, "console.log")
  const text = existsSync(log) ? readFileSync(log, "utf8") : ""
  return [...text.matchAll(/^boot (\S+)\r?\n/gm)].map(([, bootId = ""]) => bootId)
}

async function expectAlive(at: Place, label: string, id: string, pids: readonly number[]): Promise<void> {
  expect(processesOf(at), label).toEqual(pids)
  await until(() => bootIds(at, id).length > 0)
  const asked = bootIds(at, id).length
  writeFileSync(join(at.runtime, id, "console.in"), `${life.again}\n`, { flag: "r+" })
  await until(() => bootIds(at, id).length > asked)
  expect(new Set(bootIds(at, id)).size, label).toBe(1)
  const { stdout } = await banger(at, ["ps", "--json"])
  expect(JSON.parse(stdout), label).toMatchObject([{ id, state: "running", liveness: "alive", pid: pids[0] }])
  expect((await banger(at, ["stop", id])).exit, label).toBe(0)
}

/** Puts in order what a killed run has left, and checks that it is so. Returns what became of the VM. */
async function expectOrder(at: Place, label: string): Promise<string> {
  const [record] = records(at)
  const wasRunning = record?.state === "running"
  const pids = processesOf(at)
  const first = await banger(at, ["sweep"])
  expect({ label, ...first }).toMatchObject({ exit: 0 })
  if (wasRunning && pids.length > 0) await expectAlive(at, label, record.id, pids)
  expect(processesOf(at), label).toEqual([])
  if (record !== undefined) expect(notesOf(at, "postStop"), label).toBe(1)
  const before = records(at)
  const second = await banger(at, ["sweep"])
  expect({ label, ...second, stdout: "" }).toMatchObject({ exit: 0, stderr: "" })
  expect(records(at), label).toEqual(before)
  return record === undefined ? "no VM" : wasRunning && pids.length > 0 ? "adopted" : "gone"
}

const KILLED =
  "killed at every moment that something is written down: what was up goes on, what was not is gone, postStop ran once"

test(`${KILLED} (a Linux guest on QEMU)`, () => killEverywhere(linux), 600_000)
onBoth(KILLED, () => killEverywhere(tiny), 600_000)

async function killEverywhere(which: Life): Promise<void> {
  life = which
  const moments = await momentsOf(place)
  expect(notesOf(place, "postStop")).toBe(1)
  expect(moments.length).toBeGreaterThan(25)
  const results: string[] = []
  let next = 1
  const worker = async (name: string) => {
    while (next <= moments.length) {
      const moment = next++
      const dir = join(place.dir, `${name}${moment}`)
      mkdirSync(dir)
      const at = { ...place, dir, state: join(dir, "s"), runtime: join(dir, "r") }
      const label = `${moment}: killed ${moments[moment - 1]}`
      const { exit } = await run(at, moment)
      expect({ label, exit }).toEqual({ label, exit: null })
      results[moment - 1] = `${label}: ${await expectOrder(at, label)}`
    }
  }
  await Promise.all([worker("a"), worker("b")])
  console.log(results.join("\n"))
  expect(results.filter((line) => line.endsWith("adopted")).length).toBeGreaterThan(3)
  expect(results.filter((line) => line.endsWith("gone")).length).toBeGreaterThan(10)
}
