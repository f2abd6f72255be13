import { expect, test } from "bun:test"
import { closeSync, constants, openSync, readdirSync, readSync, rmSync } from "node:fs"
import { dirname, join } from "node:path"
import { banger, start, until } from "../system/support/banger.ts"
import { eachOnDoubles } from "./support/place.ts"
import { tell } from "./support/tell.ts"
import { boot } from "./support/vms.ts"

const place = eachOnDoubles()

test("attach shows what the guest says, and the VM's end ends it", async () => {
  await boot(place)
  const attached = start(place, ["attach", "double"])
  await attached.shows("up")
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  const { stderr, exit } = await attached.ended
  expect(stderr).toContain("double has ended")
  expect(exit).toBe(0)
})

test("attach shows a reader that is slow all that the guest says", async () => {
  const { id } = await boot(place)
  const fifo = join(place.dir, "fifo")
  Bun.spawnSync(["mkfifo", fifo])
  const reader = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK)
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
    rest = rest.slice(tell(place, id, rest.slice(0, 4096)))
    await Bun.sleep(0)
  }
  await until(() => Bun.file(join(place.state, "vms", id, "console.log")).size > 200_000)
  await until(() => sees("END"))
  const shown = new Set(seen.split(/\r?\n/))
  expect(lines.filter((line) => !shown.has(line))).toEqual([])
  closeSync(reader)
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
  expect((await attached.ended).stderr).toContain("double has ended")
})

test.each<[string, (runtime: string) => void]>([
  ["the VM's runtime directory", (runtime) => rmSync(runtime, { recursive: true })],
  ["all runtime directories", (runtime) => rmSync(dirname(runtime), { recursive: true })],
  [
    "what is in it",
    (runtime) => {
      for (const name of readdirSync(runtime)) rmSync(join(runtime, name))
    },
  ],
])(
  "where others have removed %s, what needs it says what to do instead, and the VM is stopped as ever",
  async (_, remove) => {
    const { id } = await boot(place)
    remove(join(place.runtime, id))
    for (const [words, gone] of [
      [["attach", "double"], "console.in"],
      [["set", "double", "balloon=1M"], id],
    ] as const) {
      const { stderr, exit } = await banger(place, words)
      expect(stderr).toContain(
        ` was removed while ${id} runs\nit runs on without: banger logs -f ${id} shows what it says`,
      )
      expect(stderr).toContain(gone)
      expect(stderr).not.toContain("ENOENT")
      expect(exit).toBe(1)
    }
    expect((await banger(place, ["logs", id])).stdout).toContain("up")
    expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  },
)
