import { expect, test } from "bun:test"
import { existsSync, renameSync } from "node:fs"
import { join } from "node:path"
import { banger, start, until } from "../system/support/banger.ts"
import { records } from "../system/support/place.ts"
import { killed, listed, signal } from "../system/support/vms.ts"
import { eachOnDoubles } from "./support/place.ts"
import { type Booted, boot, bootHeld, bootWords, hold, hooksOf } from "./support/vms.ts"

// What is to run after a boot of the host, whatever became of shutdowns and boots before: `system boot` and `system shutdown`.

const place = eachOnDoubles()
const restart = "unless-stopped"

const names = async () => (await listed(place)).map(({ name, state }) => `${name} ${state}`).sort()
const boots = async () => (await banger(place, ["system", "boot"])).exit
const shutdown = (...words: readonly string[]) => banger(place, ["system", "shutdown", ...words])

/** As the power goes: no process of banger's gets a word. */
async function lost(...vms: readonly Pick<Booted, "pid" | "supervisor">[]): Promise<void> {
  for (const { supervisor } of vms) if (supervisor > 0) await killed(supervisor)
  for (const { pid } of vms) if (pid > 0) await killed(pid)
}

/** While the kernel of such a VM is not there, it does not start. */
function takeKernel(script: string): () => void {
  const kernel = join(place.dir, `vmlinux-${Bun.hash(script).toString(16)}`)
  renameSync(kernel, `${kernel}.away`)
  return () => renameSync(`${kernel}.away`, kernel)
}

test("a VM that a boot could not start is started by the next, though the host had gone down in peace", async () => {
  await boot(place, { name: "web", restart, script: "PRINT[web]" })
  await boot(place, { name: "other", restart })
  expect((await shutdown()).exit).toBe(0)
  const giveBack = takeKernel("PRINT[web]")
  for (let round = 0; round < 2; round++) {
    expect(await boots()).toBe(1)
    expect(await names()).toEqual(["other running"])
  }
  giveBack()
  expect(await boots()).toBe(0)
  expect(await names()).toEqual(["other running", "web running"])
  // Both run: what a user stops now stays so.
  expect((await banger(place, ["stop", "--all"])).exit).toBe(0)
  expect(await boots()).toBe(0)
  expect(await names()).toEqual([])
})

test.each(["goes on", "is stopped as the host goes down"])(
  "a boot that is told to stop starts nothing more, what is starting %s, and the next one starts all",
  async (then) => {
    for (const name of ["a", "b", "c", "d", "e"]) await bootHeld(place, { name, restart })
    expect((await shutdown()).exit).toBe(0)
    const before = records(place).length
    hold(place, "postBoot")
    const booting = start(place, ["system", "boot"])
    await until(() => records(place).some(({ state }) => state === "running"))
    booting.signal("SIGTERM")
    const { stderr, exit } = await booting.ended
    expect({ exit, stderr }).toMatchObject({ exit: 143, stderr: expect.stringContaining("were not started") })
    if (then !== "goes on") expect((await shutdown()).exit).toBe(0)
    hold(place, undefined)
    expect(records(place).length - before).toBeLessThan(5)
    expect(await boots()).toBe(0)
    expect(await names()).toEqual(["a", "b", "c", "d", "e"].map((name) => `${name} running`))
    await banger(place, ["stop", "--all"])
  },
)

test("two boots at once start each VM once, and both are content", async () => {
  const vms = [await boot(place, { name: "a", restart }), await boot(place, { name: "b", restart })]
  await lost(...vms)
  const before = records(place).length
  expect(await Promise.all([boots(), boots()])).toEqual([0, 0])
  expect(await names()).toEqual(["a running", "b running"])
  expect(records(place).length - before).toBe(2)
  await banger(place, ["stop", "--all"])
})

test.each([
  ["by name", ["stop", "held"]],
  ["all", ["stop", "--all"]],
  ["all, at once", ["kill", "--all"]],
])("after a shutdown that was called off, what a user stops (%s) stays stopped", async (_, words) => {
  await bootHeld(place, { restart })
  hold(place, "preStop")
  const down = start(place, ["system", "shutdown"])
  await until(() => hooksOf(place).includes("preStop"))
  down.signal("SIGINT")
  expect((await down.ended).exit).toBe(130)
  hold(place, undefined)
  await until(() => records(place)[0]?.state === "stopped")
  expect((await banger(place, words)).exit).toBe(0)
  expect(await boots()).toBe(0)
  expect(await names()).toEqual([])
})

test("a user's stop holds though the power goes, or the host goes down, before it is done", async () => {
  for (const end of [async () => {}, async () => void start(place, ["system", "shutdown"])]) {
    const vm = await bootHeld(place, { restart })
    const count = () => hooksOf(place).filter((hook) => hook === "preStop").length
    const before = count()
    hold(place, "preStop")
    const stop = start(place, ["stop", "held"])
    await until(() => count() > before)
    await end()
    await lost(vm)
    hold(place, undefined)
    await stop.ended
    expect(await boots()).toBe(0)
    expect(await names()).toEqual([])
  }
})

test.each(["restart", "run --replace"])(
  "a %s that the power cuts off between stop and start is made good",
  async (which) => {
    const how = { name: "web", restart, script: "PRINT[web]" }
    await boot(place, how)
    const words = which === "restart" ? ["restart", "web"] : bootWords(place, { ...how, flags: ["--replace"] })
    const cut = start(place, words)
    await until(() => records(place).some(({ state }) => state === "stopped"))
    cut.signal("SIGKILL")
    await cut.ended
    for (const vm of await listed(place)) await lost({ pid: vm.pid ?? 0, supervisor: vm.supervisor ?? 0 })
    expect(await boots()).toBe(0)
    expect(await names()).toEqual(["web running"])
    expect((await banger(place, ["stop", "web"])).exit).toBe(0)
    expect(await boots()).toBe(0)
    expect(await names()).toEqual([])
  },
)

test("a supervisor that is stopped itself does not hold up the host's end", async () => {
  const vm = await boot(place, { name: "web", restart })
  signal(vm.supervisor, "SIGSTOP")
  expect((await shutdown()).exit).toBe(0)
  expect(records(place)).toMatchObject([{ id: vm.id, state: "stopped" }])
  expect(await boots()).toBe(0)
  expect(await names()).toEqual(["web running"])
  await banger(place, ["stop", "--all"])
})

test("what a user starts by hand before the boot has come to it is left alone", async () => {
  await bootHeld(place, { name: "first", restart })
  await boot(place, { name: "web", restart, after: ["first"] })
  expect((await shutdown()).exit).toBe(0)
  hold(place, "postBoot")
  const booting = start(place, ["system", "boot"])
  await until(() => records(place).some(({ name, state }) => name === "first" && state === "running"))
  const { id } = await boot(place, { name: "web", restart })
  hold(place, undefined)
  expect((await booting.ended).exit).toBe(0)
  expect((await listed(place)).find(({ name }) => name === "web")?.id).toBe(id)
  await banger(place, ["stop", "--all"])
})

/** What its user does, and how a VM came to be so that this must hold. */
const STOPPED: readonly [string, () => Promise<void>][] = [
  [
    "whose supervisor is slow, as the power goes",
    async () => {
      const vm = await boot(place, { name: "web", restart })
      signal(vm.supervisor, "SIGSTOP")
      const stop = start(place, ["stop", "web"])
      await until(() => existsSync(join(place.state, "vms", vm.id, "stop.json")))
      await lost(vm)
      stop.signal("SIGKILL")
      await stop.ended
    },
  ],
  [
    "whose supervisor is slow, as the host goes down",
    async () => {
      const vm = await boot(place, { name: "web", restart })
      signal(vm.supervisor, "SIGSTOP")
      const stop = start(place, ["stop", "web"])
      await until(() => existsSync(join(place.state, "vms", vm.id, "stop.json")))
      expect((await shutdown()).exit).toBe(0)
      await stop.ended
    },
  ],
  [
    "that was lost, before the boot",
    async () => {
      await lost(await boot(place, { name: "web", restart }))
      expect((await banger(place, ["stop", "web"])).exit).toBe(0)
    },
  ],
  [
    "that was lost, with all, before the boot",
    async () => {
      await lost(await boot(place, { name: "web", restart }))
      expect((await banger(place, ["kill", "--all"])).exit).toBe(0)
    },
  ],
  [
    "that a boot could not start",
    async () => {
      await lost(await boot(place, { name: "web", restart, script: "PRINT[web]" }))
      const giveBack = takeKernel("PRINT[web]")
      expect(await boots()).toBe(1)
      expect((await banger(place, ["stop", "web"])).exit).toBe(0)
      giveBack()
    },
  ],
  [
    "that its supervisor is about to boot again",
    async () => {
      const policy = { policy: restart, delay: "60s" }
      const vm = await boot(place, { name: "web", restart: policy })
      await killed(vm.pid)
      await until(() => records(place)[0]?.state === "failed")
      expect((await banger(place, ["stop", "web"])).exit).toBe(0)
    },
  ],
  [
    "that a boot is just starting",
    async () => {
      await lost(await bootHeld(place, { name: "web", restart }))
      hold(place, "preBoot")
      const before = records(place).length
      const booting = start(place, ["system", "boot"])
      await until(() => records(place).length > before && hooksOf(place).at(-1) === "preBoot")
      expect((await banger(place, ["stop", "web"])).exit).toBe(0)
      hold(place, undefined)
      await booting.ended
    },
  ],
  [
    "in whose terminal it is told so by Ctrl-C",
    async () => {
      const run = start(place, bootWords(place, { name: "web", restart, flags: [] }))
      await run.shows("up")
      run.signal("SIGINT")
      await run.ended
    },
  ],
  [
    "that is removed, with an older one of its name on record",
    async () => {
      await lost(await boot(place, { name: "web", restart }))
      expect(await boots()).toBe(0)
      expect((await banger(place, ["rm", "-f", records(place)[0]?.id ?? ""])).exit).toBe(0)
      expect(records(place)).toHaveLength(1)
    },
  ],
  [
    "that is to run always and is removed, with an older one on record",
    async () => {
      await lost(await boot(place, { name: "web", restart: "always" }))
      expect(await boots()).toBe(0)
      expect((await banger(place, ["stop", "web"])).exit).toBe(0)
      expect((await banger(place, ["rm", records(place)[0]?.id ?? ""])).exit).toBe(0)
      expect(records(place)).toHaveLength(1)
    },
  ],
  [
    "that is removed with all its boots",
    async () => {
      await lost(await boot(place, { name: "web", restart: "always" }))
      expect(await boots()).toBe(0)
      expect((await banger(place, ["rm", "-f", "web"])).exit).toBe(0)
      expect(records(place)).toEqual([])
    },
  ],
]

test.each(STOPPED)("what a user wants stopped stays so: a VM %s", async (_, stopped) => {
  await stopped()
  expect(await boots()).toBe(0)
  expect(await names()).toEqual([])
})

test("a VM whose postBoot hook fails after a boot is tried again by the next one", async () => {
  await lost(await bootHeld(place, { name: "web", restart, timeouts: { hook: "500ms" } }))
  hold(place, "postBoot")
  expect(await boots()).toBe(1)
  hold(place, undefined)
  expect(await boots()).toBe(0)
  expect(await names()).toEqual(["web running"])
  await banger(place, ["stop", "--all"])
})

test("a supervisor that a host's end ends by itself is no user's stop", async () => {
  const run = start(place, bootWords(place, { name: "web", restart, flags: [] }))
  await run.shows("up")
  run.signal("SIGTERM")
  await run.ended
  expect(await boots()).toBe(0)
  expect(await names()).toEqual(["web running"])
  await banger(place, ["stop", "--all"])
})

test("a shutdown waits for what a boot that was cut short has begun to start", async () => {
  await lost(await bootHeld(place, { name: "web", restart }))
  hold(place, "configure")
  const booting = start(place, ["system", "boot"])
  await until(() => hooksOf(place).at(-1) === "configure")
  booting.signal("SIGTERM")
  await booting.ended
  const down = start(place, ["system", "shutdown"])
  expect(await Promise.race([down.ended, Bun.sleep(500)])).toBeUndefined()
  hold(place, undefined)
  expect((await down.ended).exit).toBe(0)
  expect(await names()).toEqual([])
  expect(await boots()).toBe(0)
  expect(await names()).toEqual(["web running"])
  await banger(place, ["stop", "--all"])
})
