import { Database } from "bun:sqlite"
import { afterEach, beforeEach, expect, test } from "bun:test"
import { join } from "node:path"
import { banger, fixture, until } from "./support/banger.ts"
import { doublesOfFile, kernelOf } from "./support/doubles.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"
import { beHost, expectNoNetwork, must } from "./support/wire.ts"

const doubles = doublesOfFile()
beforeEach(beHost)
const place = eachInItsPlace()
afterEach(expectNoNetwork)

const PROCESSES = 10
const EACH = 5

interface Row {
  readonly vm: string
  readonly number: number
  readonly mac: string
  readonly link: string
}

function leases(): readonly Row[] {
  const db = new Database(join(place.state, "state.db"), { readonly: true })
  db.run("pragma busy_timeout = 10000")
  try {
    return db.query<Row, []>("select vm, number, mac, link from leases").all()
  } finally {
    db.close()
  }
}

test("50 VMs started by 10 processes at once have 50 addresses, MACs and taps, and leave nothing", async () => {
  const binary = join(import.meta.dir, "../../dist/banger")
  const kernel = kernelOf(place.dir)
  const spec = JSON.stringify({ network: true, timeouts: { start: "2m" } })
  const env = { ...process.env, ...doubles.env, BANGER_STATE_DIR: place.state, BANGER_RUNTIME_DIR: place.runtime }
  const plugin = fixture("firecracker")
  const starters = Array.from({ length: PROCESSES }, (_, index) => {
    const runs = Array.from(
      { length: EACH },
      (_, at) => `"$1" run --detach --name vm-${index}-${at} "$2" -- "$3" "$4" > /dev/null`,
    )
    const argv = ["sh", "-e", "-c", runs.join("\n"), "sh", binary, plugin, kernel, spec]
    return Bun.spawn(argv, { env, stdin: "ignore", stdout: "ignore", stderr: "pipe" })
  })
  for (const starter of starters) {
    const said = await starter.stderr.text()
    expect({ exit: await starter.exited, said }).toMatchObject({ exit: 0 })
  }
  const all = leases()
  const different = (field: keyof Row) => new Set(all.map((row) => row[field])).size
  const count = PROCESSES * EACH
  expect([all.length, different("number"), different("mac"), different("link")]).toEqual([count, count, count, count])
  // Besides their supervisors.
  expect(processesOf(place)).toHaveLength(count)
  const links = must("ip", "-o", "link", "show", "master", "bgr0").trim().split("\n")
  expect(links).toHaveLength(count)
  for (const { link } of all) expect(links.some((line) => line.includes(` ${link}: `))).toBe(true)
  const neighbours = must("ip", "neighbour", "show", "dev", "bgr0", "nud", "permanent").trim().split("\n")
  expect(new Set(neighbours.map((line) => line.split(" ")[2])).size).toBe(count)
  const ids = records(place).map(({ id }) => id)
  const half = ids.length / 2
  for (const some of [ids.slice(0, half), ids.slice(half)]) {
    // Many at once here too.
    const ended = await Promise.all(some.map((id) => banger(place, ["stop", id], { PATH: doubles.env.PATH ?? "" })))
    for (const { exit, stderr } of ended) expect({ exit, stderr }).toMatchObject({ exit: 0 })
  }
  await until(() => processesOf(place).length === 0)
  expect(leases()).toEqual([])
}, 800_000)
