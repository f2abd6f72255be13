import { expect, test } from "bun:test"
import { readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { banger, startGuest } from "./support/banger.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"

const place = eachInItsPlace()
const hello = join(import.meta.dir, "../../plugins/hello.ts")

test("hello boots a real kernel that reads what preBoot staged", async () => {
  const token = crypto.randomUUID()
  const { stdout, stderr, exit } = await banger(place, ["run", hello, "--", token])
  expect(stdout).toMatch(/kernel \d+\.\d+\.\S+, up \d+\.\d+ s/)
  expect(stdout).toContain(`the host says: hello ${token}, I am hello`)
  expect(stderr).toContain("the VM ended: guest reset")
  expect(exit).toBe(0)
})

test("a run leaves its events, plugin and console on record, readable by nobody else", async () => {
  const trace = join(place.dir, "trace.json")
  const run = await banger(place, ["run", hello, "--json", "--trace", trace])
  const result = JSON.parse(run.stdout)
  expect(result).toMatchObject({ name: "hello", state: "stopped", keptForInspection: false })
  expect(result.exit).toMatchObject({ reason: "guest reset", requested: false, code: 0, signal: null })
  const events = readFileSync(join(result.dir, "events.jsonl"), "utf8").trim().split("\n")
  expect(events.map((line) => JSON.parse(line).hook ?? JSON.parse(line).state)).toEqual([
    "creating",
    "staging",
    "preBoot",
    "booting",
    "running",
    "postBoot",
    "stopping",
    "postStop",
    "stopped",
  ])
  expect(JSON.parse(readFileSync(join(result.dir, "plugin.json"), "utf8"))).toEqual({
    path: hello,
    sha256: new Bun.CryptoHasher("sha256").update(readFileSync(hello)).digest("hex"),
  })
  for (const file of ["console.log", "vmm.log", "events.jsonl", "plugin.json", "handles.json", "lock"]) {
    expect((statSync(join(result.dir, file)).mode & 0o777).toString(8)).toBe("600")
  }
  expect(statSync(result.dir).mode & 0o777).toBe(0o700)
  const names = JSON.parse(readFileSync(trace, "utf8")).traceEvents.map((event: { name: string }) => event.name)
  expect(names).toEqual(
    expect.arrayContaining([
      ...["start", "load", "choose", "record", "stage", "hook:preBoot", "boot", "configure", "run", "clean up"],
      "hook:postStop",
    ]),
  )
  const logs = await banger(place, ["logs", "hello"])
  expect(logs.stdout).toContain("the host says: hello guest")
})

test("while it runs, the control socket is its owner's alone and the VMM has a session and descriptors of its own", async () => {
  const run = startGuest(place, "echo up; sleep 60")
  await run.shows("up")
  const [record] = records(place)
  const runtime = join(place.runtime, record?.id ?? "")
  expect(statSync(runtime).mode & 0o7777).toBe(0o1700)
  expect(statSync(join(runtime, "qmp.sock")).mode & 0o7777).toBe(0o600)
  expect(statSync(join(runtime, "console.in")).isFIFO()).toBe(true)
  const [pid = 0] = processesOf(place)
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
  expect(stat.slice(stat.lastIndexOf(")")).split(" ")[4]).toBe(String(pid))
  expect(readFileSync(`/proc/${pid}/environ`, "latin1")).toBe("")
  run.signal("SIGINT")
  expect((await run.ended).exit).toBe(130)
})
