import { afterAll, beforeAll, expect, test } from "bun:test"
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { cgroupMount } from "../../src/host/cgroup/cgroup.ts"
import { banger, start, until } from "./support/banger.ts"
import { doublesOfFile } from "./support/doubles.ts"
import { eachInItsPlace } from "./support/place.ts"
import { doubleWords, listed } from "./support/vms.ts"
import { must } from "./support/wire.ts"

// A run in a caller's cgroup, on a host whose systemd is slow, and then refuses: the cgroup of what a preBoot hook starts.

const firecracker = doublesOfFile()
const place = eachInItsPlace()

/** What systemd was asked for. */
const asked: string[] = []

/** Longer than it takes to come to the preBoot hooks, in milliseconds. */
const SLOW_MS = 2500

const mount = cgroupMount() ?? ""
const caller = `${mount}/caller-of-test`

beforeAll(() => {
  // Of this mount namespace alone.
  mkdirSync("/run/systemd", { recursive: true })
  must("mount", "-t", "tmpfs", "systemd", "/run/systemd")
  mkdirSync("/run/systemd/system")
  Bun.listen({
    unix: "/run/systemd/private",
    socket: {
      data(peer, bytes) {
        const text = Buffer.from(bytes).toString("latin1")
        if (text.startsWith("\0AUTH")) return void peer.write("OK 0123\r\n")
        asked.push(/banger-[\w.-]+\.scope/.exec(text)?.[0] ?? "")
        setTimeout(() => peer.end(), SLOW_MS)
      },
    },
  }).unref()
  mkdirSync(caller)
})

afterAll(() => {
  rmdirSync(caller)
  must("umount", "--lazy", "/run/systemd")
})

/** The words that run a plugin whose preBoot hook starts a process that notes its cgroup; without hook: none. */
function words(flags: readonly string[], hook: boolean): readonly string[] {
  const all = doubleWords(place, flags)
  const double = String(all.find((word) => word.endsWith("double.ts")))
  const plugin = join(place.dir, "plugin.ts")
  const more = hook ? `preBoot: () => void Bun.spawnSync(["cp", "/proc/self/cgroup", "${place.dir}/started"])` : ""
  writeFileSync(plugin, `import plugin from "${double}"\nexport default { ...plugin, ${more} }\n`)
  return all.map((word) => (word === double ? plugin : word))
}

const through = ["sh", "-c", `echo $$ > ${caller}/cgroup.procs; exec "$@"`, "sh"]
const v2Of = (path: string) => /^0::(.*)$/m.exec(readFileSync(path, "latin1"))?.[1]
const started = () => v2Of(join(place.dir, "started"))

test("of a run in the background it is out of the caller's", async () => {
  const run = start(place, words(["--detach"], true), { ...firecracker.env }, { through })
  expect(await run.ended).toMatchObject({ stdout: "double\n", exit: 0 })
  const [vm] = await listed(place)
  expect(asked.splice(0)).toEqual([`banger-${vm?.id}.scope`])
  expect(started()).toBe("/banger-supervisors")
  expect(v2Of(`/proc/${vm?.supervisor}/cgroup`)).toBe("/banger-supervisors")
  expect(v2Of(`/proc/${vm?.pid}/cgroup`)).toBe(`/banger/${vm?.id}`)
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
})

test("one in the foreground stays, and asks nobody", async () => {
  const begun = performance.now()
  const run = start(place, words([], true), { ...firecracker.env }, { through })
  await run.shows("up")
  expect(performance.now() - begun).toBeLessThan(SLOW_MS)
  expect(started()).toBe("/caller-of-test")
  run.signal("SIGTERM")
  await run.ended
  expect(asked).toEqual([])
})

test("one without such a hook boots meanwhile", async () => {
  const run = start(place, words(["--detach"], false), { ...firecracker.env }, { through })
  const begun = performance.now()
  await until(() => existsSync(join(place.dir, "booted")))
  expect(performance.now() - begun).toBeLessThan(SLOW_MS)
  expect(await run.ended).toMatchObject({ stdout: "double\n", exit: 0 })
  expect(asked.splice(0)).toHaveLength(1)
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
})
