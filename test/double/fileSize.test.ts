import { expect, test } from "bun:test"
import { existsSync, readFileSync } from "node:fs"
import { banger, start } from "../system/support/banger.ts"
import { records } from "../system/support/place.ts"
import { eachOnDoubles } from "./support/place.ts"
import { tell } from "./support/tell.ts"
import { boot, bootWords } from "./support/vms.ts"

const place = eachOnDoubles()
/** CAP_SYS_RESOURCE: only with it a hard limit is raised. */
const able =
  (Number.parseInt(/^CapEff:\t\w*(\w)\w{6}$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0", 16) & 1) ===
  1

/** banger as started by a shell with a limit of so many KiB on files, which is soft or hard. */
const limited = (how: "-Sf" | "-f", words: readonly string[], more: readonly string[] = []) =>
  start(place, words, {}, { through: [...more, "bash", "-c", `ulimit ${how} 200 && exec "$@"`, "bash"] })

const TEXT = `${Array.from({ length: 60_000 }, (_, index) => index).join("\n")}\nLAST-LINE\n`

/** Has the guest say more than fits into such a file. */
async function speak(): Promise<void> {
  const [{ id } = { id: "" }] = records(place)
  for (let rest = TEXT; rest !== ""; ) {
    rest = rest.slice(tell(place, id, rest.slice(0, 4096)))
    await Bun.sleep(0)
  }
}

test.each(["-Sf", ...(able ? (["-f"] as const) : [])] as const)(
  "a console is whole whatever the caller's files may have (ulimit %s), in the foreground and detached",
  async (how) => {
    for (const flags of [[], ["--detach"]]) {
      const run = limited(how, bootWords(place, { flags, console: { limit: "1M" } }))
      if (flags.length === 0) await run.shows("up")
      else expect((await run.ended).exit).toBe(0)
      await speak()
      let said = ""
      while (!said.includes("LAST-LINE")) said = (await banger(place, ["logs", "double"])).stdout
      expect(said.split(/\r?\n/)).toContain("59999")
      expect((await banger(place, ["stop", "double"])).exit).toBe(0)
      expect((await run.ended).stderr).not.toContain("ulimit")
    }
  },
)

test("a supervisor that takes a VM over has no such limit either", async () => {
  await boot(place, { flags: ["--supervise=none"] })
  const supervised = limited("-Sf", ["supervise", "double"])
  await supervised.shows("has a supervisor now")
  expect(readFileSync(`/proc/${supervised.pid}/limits`, "utf8")).toMatch(/^Max file size +unlimited/m)
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  await supervised.ended
})

test.skipIf(able)("who may not raise the limit is told of it, in one line, before the VM runs", async () => {
  const through = ["bash", "-c", `ulimit -f 20000 && exec "$@"`, "bash"]
  const run = start(place, bootWords(place, { flags: [] }), {}, { through })
  await run.shows("up")
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  const { stderr } = await run.ended
  expect(stderr).toMatch(/WARN {2}a file may have 19\.5M here \(ulimit -Hf\): .*; root may raise it\n/)
})

test.skipIf(able)("where not even banger's own files have room a run is refused, and nothing is made", async () => {
  const { stderr, exit } = await limited("-f", bootWords(place, { flags: [] })).ended
  expect(stderr).toContain("a file may have 200K here (ulimit -Hf), and banger's records may come to need more")
  expect(exit).toBe(1)
  expect(existsSync(place.state)).toBe(false)
})
