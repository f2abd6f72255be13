import { expect, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { fixture, start, startGuest, until } from "./support/banger.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"

const place = eachInItsPlace()

// The keyboard's Ctrl-Alt-Del reaches the kernel, which tells nobody: cad_pid is told only where C_A_D allows it.
const DEAF = "trap '' TERM; kill -STOP 1; echo deaf; while :; do sleep 1; done"

test("SIGINT stops the guest by Ctrl-Alt-Del well before the limit", async () => {
  const run = startGuest(place, "echo up; sleep 600", { timeouts: { stop: "10m" } }, ["--json"])
  await until(() => processesOf(place).length === 1)
  await consoleShows("up")
  run.signal("SIGINT")
  const { stdout, exit } = await run.ended
  expect(JSON.parse(stdout).exit).toMatchObject({ reason: "guest reset", requested: true, signal: null })
  expect(exit).toBe(130)
})

test("a guest that stands still hears of a stop all the same", async () => {
  const plugin = join(place.dir, "paused.ts")
  const image = join(import.meta.dir, "../../dist/guest")
  writeFileSync(
    plugin,
    `import guest from ${JSON.stringify(fixture("guest"))}
    export default { ...guest, name: "paused", kernel: "${image}/vmlinuz", initrd: "${image}/initrd.img", timeouts: { stop: "10m" }, async postBoot(ctx) {
      while (!(await Bun.file(ctx.vm.consoleLog).text()).includes("up")) await Bun.sleep(20)
      await ctx.pause()
      ctx.log.info("stands still")
    } }`,
  )
  const run = start(place, ["run", plugin, "--", "echo up; sleep 600", "{}"])
  await run.shows("stands still")
  run.signal("SIGINT")
  const { stderr, exit } = await run.ended
  expect(stderr).toContain("guest reset, as asked")
  expect(exit).toBe(130)
})

test("a guest that ignores Ctrl-Alt-Del is killed after the limit", async () => {
  const run = startGuest(place, DEAF, { timeouts: { stop: "2s" } })
  await run.shows("deaf")
  run.signal("SIGINT")
  const { stderr, exit } = await run.ended
  expect(stderr).toContain("the guest did not stop in 2s after Ctrl-Alt-Del: killing it")
  expect(stderr).toContain("postStop: killed")
  expect(exit).toBe(130)
})

test("a second SIGINT kills at once", async () => {
  const run = startGuest(place, DEAF, { timeouts: { stop: "10m" } })
  await run.shows("deaf")
  run.signal("SIGINT")
  await until(() => records(place)[0]?.state === "stopping")
  run.signal("SIGINT")
  const { stderr, exit } = await run.ended
  expect(stderr).toContain("stopping at once")
  expect(stderr).toContain("postStop: killed")
  expect(exit).toBe(130)
})

async function consoleShows(text: string): Promise<void> {
  const [record] = records(place)
  const log = Bun.file(`${place.state}/vms/${record?.id}/console.log`)
  while (!(await log.text()).includes(text)) await Bun.sleep(20)
}
