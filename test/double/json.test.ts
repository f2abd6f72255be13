import { expect, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { documentsIn, failureIn } from "../jsonSaid.ts"
import { banger, start } from "../system/support/banger.ts"
import { killed } from "../system/support/vms.ts"
import { tinyGuest } from "../tinyGuest.ts"
import { eachOnDoubles } from "./support/place.ts"
import { boot, bootHeld, bootWords, heldWords, hold } from "./support/vms.ts"

const place = eachOnDoubles()
const json = (...words: readonly string[]) => banger(place, [...words, "--json"])
const stop = async () => expect((await banger(place, ["rm", "-f", "double"])).exit).toBe(0)

/** A plugin whose hooks print in every way there is, also through the programs they start; what its guest does. */
function noisy(script: string): string {
  const path = join(place.dir, "noisy.ts")
  writeFileSync(`${path}.vmlinux`, tinyGuest(script))
  const code = `import { definePlugin } from "banger"
    async function noise() {
      console.log("log\\n\\x1b[31m"); console.error("error"); process.stdout.write("written\\n")
      Bun.spawnSync(["sh", "-c", "echo out; echo err >&2"], { stdio: ["ignore", "inherit", "inherit"] })
      await Bun.spawn(["sh", "-c", "echo later; printf unended >&2"], { stdout: "inherit" }).exited
    }
    await noise()
    const spec = ${JSON.stringify({ ...place.spec, name: "double", vmm: "firecracker", kernel: `${path}.vmlinux` })}
    export default definePlugin({ ...spec, preBoot: noise, postBoot: noise, preStop: noise, postStop: noise })`
  writeFileSync(path, code)
  return path
}

test("hooks that print in every way print lines of JSON, and the result is all there is on standard output", async () => {
  const said = await json("run", noisy("PRINT[up] RESET"))
  expect(documentsIn(said)).toMatchObject([{ name: "double", state: "stopped" }])
  for (const word of ["log", "error", "written", "out", "err", "later", "unended"]) expect(said.stderr).toContain(word)
})

test("so does a start in the background, and whoever finishes the VM", async () => {
  expect(documentsIn(await json("run", "--supervise=none", noisy("PRINT[up]")))).toMatchObject([{ name: "double" }])
  expect(documentsIn(await json("stop", "double"))).toMatchObject([{ name: "double" }])
  expect(documentsIn(await json("run", "-d", noisy("PRINT[up]")))).toMatchObject([{ name: "double" }])
  expect(documentsIn(await json("restart", "double"))).toMatchObject([{ name: "double" }])
  expect(documentsIn(await json("stop", "double"))).toMatchObject([{ name: "double" }])
  expect(documentsIn(await json("logs", "double"))).toContainEqual({ line: "up" })
  expect(documentsIn(await json("logs", "--events", "double")).length).toBeGreaterThan(5)
  expect(documentsIn(await json("logs", "--supervisor", "double")).length).toBeGreaterThan(5)
})

test("a name that is taken is IN_USE; the document of a bad end has the failure that ends standard error", async () => {
  await boot(place)
  expect(failureIn(await banger(place, [...bootWords(place, { flags: ["--json"] })])).code).toBe("IN_USE")
  expect(failureIn(await banger(place, [...bootWords(place, { flags: ["--json", "-d"] })])).code).toBe("IN_USE")
  const timedOut = failureIn(await json("wait", "double", "--timeout", "200ms"))
  expect(timedOut).toMatchObject({ code: "TIMED_OUT", exit: 124 })
  await stop()
  const crashed = await banger(place, bootWords(place, { flags: ["--json"], script: "TRIPLE PRINT[up]" }))
  const error = failureIn(crashed)
  expect(error.code).toBe("VM_FAILED")
  expect(JSON.parse(crashed.stdout)).toMatchObject({ state: "failed", error })
})

test("many VMs: a line for each that went well, and one failure at the end", async () => {
  await boot(place)
  await boot(place, { name: "other" })
  const said = await json("stop", "double", "nobody", "other", "neither")
  expect(failureIn(said)).toMatchObject({ code: "NO_SUCH_VM", exit: 1 })
  // The first to end is told first.
  const names = (documents: readonly unknown[]) =>
    documents.map((document) => Reflect.get(Object(document), "name")).sort()
  const lines = said.stdout.split("\n").slice(0, -1)
  expect(names(lines.map((line) => JSON.parse(line)))).toEqual(["double", "other"])
  expect(names(documentsIn(await json("rm", "double", "other")))).toEqual(["double", "other"])
})

test("a run that is interrupted is INTERRUPTED, in its document too, and its VM has ended well all the same", async () => {
  const run = start(place, bootWords(place, { flags: ["--json"] }))
  await start(place, ["ps", "--json"]).ended
  while (JSON.parse((await json("ps")).stdout)[0]?.state !== "running") await Bun.sleep(20)
  run.signal("SIGTERM")
  const ended = await run.ended
  const error = failureIn(ended)
  expect(error).toMatchObject({ code: "INTERRUPTED", exit: 143 })
  expect(JSON.parse(ended.stdout)).toMatchObject({ state: "stopped", error })
})

test("a plugin that blocks is told of by the thread that ends it: JSON alone there too", async () => {
  const path = join(place.dir, "blocks.ts")
  writeFileSync(`${path}.vmlinux`, tinyGuest("PRINT[up]"))
  const spec = {
    ...place.spec,
    name: "double",
    vmm: "firecracker",
    kernel: `${path}.vmlinux`,
    timeouts: { hook: "300ms" },
  }
  const code = `export default { ...${JSON.stringify(spec)}, postBoot() { for (;;) {} } }`
  writeFileSync(path, code)
  const said = await json("run", path)
  const error = failureIn(said)
  expect(error).toMatchObject({ code: "TIMED_OUT", exit: 124 })
  expect(JSON.parse(said.stdout)).toMatchObject({ state: "failed", error })
})

test("so it is where another banger has taken the VM over: its end is a document all the same", async () => {
  const { id } = await bootHeld(place, { flags: ["--supervise=none"], timeouts: { hook: "300ms" } })
  hold(place, "postStop blocked")
  const supervising = start(place, ["supervise", id, "--json"])
  await supervising.shows("has a supervisor now")
  await banger(place, ["stop", id])
  const said = await supervising.ended
  const error = failureIn(said)
  expect(error).toMatchObject({ code: "TIMED_OUT", exit: 124 })
  expect(JSON.parse(said.stdout)).toMatchObject({ id, error })
})

test("a dead VM whose hooks run in a process of their own: what they and it say is JSON, also where they fail", async () => {
  expect((await banger(place, heldWords(place))).exit).toBe(0)
  const [vm] = JSON.parse((await json("ps")).stdout)
  await killed(vm.supervisor)
  await killed(vm.pid)
  hold(place, undefined)
  documentsIn(await json("sweep"))
  expect(documentsIn(await json("ps", "--reconcile"))).toEqual([[]])
})
