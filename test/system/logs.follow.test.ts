import { beforeAll, expect, test } from "bun:test"
import { closeSync, constants, mkdtempSync, openSync, readdirSync, readlinkSync, readSync, writeSync } from "node:fs"
import { join } from "node:path"
import { banger, start, until } from "./support/banger.ts"
import { buildDoubles, type Doubles } from "./support/doubles.ts"
import { eachInItsPlace, type Place } from "./support/place.ts"
import { listed, runDouble } from "./support/vms.ts"

// Who reads what a VM goes on to say may be slow, or go away.

let doubles: Doubles
beforeAll(() => {
  doubles = buildDoubles(mkdtempSync("/run/banger-doubles-"))
})
const place = eachInItsPlace()
const { O_RDWR, O_NONBLOCK } = constants

/** Sends the guest words, which it says back; as many as it takes now. */
function tell(at: Place, id: string, text: string): number {
  const fd = openSync(join(at.runtime, id, "console.in"), O_RDWR | O_NONBLOCK)
  try {
    return writeSync(fd, text)
  } catch {
    // It has not read what came before.
    return 0
  } finally {
    closeSync(fd)
  }
}

test.each(["logs -f double", "ps --watch"])("`banger %s | head` ends when nobody reads any more", async (words) => {
  await runDouble(place, doubles)
  const [vm] = await listed(place)
  const line = `${join(import.meta.dir, "../../dist/banger")} ${words} | head -n 1`
  const piped = start(place, ["-c", line], {}, { through: ["sh"], self: false })
  await until(() => tell(place, vm?.id ?? "", "more\n") > 0)
  // Whatever comes next is what nobody reads.
  const timer = setInterval(() => {
    tell(place, vm?.id ?? "", "more\n")
  }, 50)
  expect((await piped.ended).stdout.split("\n")).toHaveLength(2)
  clearInterval(timer)
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
})

test("`banger events -f | head` ends when nobody reads any more", async () => {
  const line = `${join(import.meta.dir, "../../dist/banger")} events -f | head -n 1`
  const piped = start(place, ["-c", line], {}, { through: ["sh"], self: false })
  const over = piped.ended.then(() => true)
  for (let round = 0; !(await Promise.race([over, Bun.sleep(0)])); round++) {
    await runDouble(place, doubles, ["--supervise=none"], "PRINT[up]", { name: `vm-${round}` })
    expect((await banger(place, ["kill", `vm-${round}`])).exit).toBe(0)
  }
  expect((await piped.ended).stdout.split("\n")).toHaveLength(2)
})

test("attach shows a reader that is slow all that the guest says", async () => {
  await runDouble(place, doubles)
  const [vm] = await listed(place)
  const fifo = join(place.dir, "fifo")
  Bun.spawnSync(["mkfifo", fifo])
  const reader = openSync(fifo, O_RDWR | O_NONBLOCK)
  const attached = start(place, ["attach", "double"], {}, { stdout: reader })
  let seen = ""
  const buffer = new Uint8Array(64 * 1024)
  const sees = (text: string) => {
    try {
      seen += new TextDecoder("latin1").decode(buffer.subarray(0, readSync(reader, buffer)))
    } catch {
      // Nothing there yet.
    }
    return seen.includes(text)
  }
  await until(() => sees("up"))
  const lines = Array.from({ length: 20_000 }, (_, index) => `line ${index}`)
  for (let rest = `${lines.join("\n")}\nEND\n`; rest !== ""; ) {
    rest = rest.slice(tell(place, vm?.id ?? "", rest.slice(0, 4096)))
    await Bun.sleep(0)
  }
  await until(() => Bun.file(join(place.state, "vms", vm?.id ?? "", "console.log")).size > 200_000)
  await until(() => sees("END"))
  const shown = new Set(seen.split(/\r?\n/))
  expect(lines.filter((line) => !shown.has(line))).toEqual([])
  closeSync(reader)
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
  expect((await attached.ended).stderr).toContain("double has ended")
})

test("events -f keeps nothing open of VMs that were removed", async () => {
  const events = start(place, ["events", "--follow"])
  const names = ["one", "two", "three"]
  for (const name of names) await runDouble(place, doubles, ["--supervise=none"], "PRINT[up]", { name })
  for (const { id } of await listed(place)) await events.shows(`${id}","atMs"`)
  const opened = () =>
    readdirSync(`/proc/${events.pid}/fd`).filter((fd) =>
      linkOf(`/proc/${events.pid}/fd/${fd}`).includes("events.jsonl"),
    )
  expect(opened()).toHaveLength(3)
  expect((await banger(place, ["rm", "-f", ...names])).exit).toBe(0)
  await until(() => opened().length === 0)
  events.signal("SIGTERM")
  await events.ended
})

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    // It was closed meanwhile.
    return ""
  }
}
