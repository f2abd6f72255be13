import { expect, test } from "bun:test"
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { makeDead } from "../fixtures/sockets/crowd.ts"
import { banger } from "./support/banger.ts"
import { eachInItsPlace } from "./support/place.ts"
import { directoryIn } from "./support/sweeping.ts"

const place = eachInItsPlace()
const NOW = ["--grace", "0s", "--confirm", "1"] as const

/** A directory with two dead sockets, and the file of a plugin with this code. */
function prepare(code: string): { dir: string; plugin: string } {
  const dir = directoryIn(place.dir, "sockets")
  for (const name of ["a.sock", "b.sock"]) makeDead(join(dir, name))
  const plugin = join(place.dir, "guard.ts")
  writeFileSync(plugin, `import { definePlugin } from "banger"\n${code}`)
  return { dir, plugin }
}

test("a sweepCandidate hook keeps what it wants kept, and is told what the socket is", async () => {
  const { dir, plugin } = prepare(`export default definePlugin({
    sweepCandidate(ctx) {
      ctx.log.info(JSON.stringify({ uid: ctx.uid, inode: ctx.inode, age: ctx.ageSeconds, path: ctx.path }))
      return ctx.path.endsWith("a.sock") ? "keep" : undefined
    },
  })`)
  const { stderr, exit } = await banger(place, ["sweep", dir, "--plugin", plugin, ...NOW])
  expect(stderr).toMatch(/\{"uid":0,"inode":"\d+:\d+:\d+","age":0,"path":"\S+\/a\.sock"\}/)
  expect(stderr).toContain("1 removed, 1 kept (1 hook)")
  expect({ exit, left: readdirSync(dir) }).toEqual({ exit: 0, left: ["a.sock"] })
})

test.each([
  [
    "throws",
    `throw new Error("no luck")`,
    /is left alone: cannot tell: \S+\/guard\.ts:\d+:\d+: sweepCandidate threw: no luck/,
  ],
  [
    "never resolves",
    "return new Promise(() => {})",
    "is left alone: cannot tell: sweepCandidate did not finish in 50ms",
  ],
  ["returns junk", "return 5", 'is left alone: cannot tell: sweepCandidate returned 5; allowed: "keep" or nothing'],
])("a hook that %s spares the socket, and is reported", async (_, body, message) => {
  const { dir, plugin } = prepare(
    `export default definePlugin({ timeouts: { sweepCandidate: "50ms" }, sweepCandidate() { ${body} } } as never)`,
  )
  const { stderr, exit } = await banger(place, ["sweep", dir, "--plugin", plugin, ...NOW])
  expect(stderr).toMatch(message)
  expect({ exit, left: readdirSync(dir).length }).toEqual({ exit: 1, left: 2 })
})

test("a hook that never yields is ended with its sweep, which the next one makes up for", async () => {
  const { dir, plugin } = prepare(
    `export default definePlugin({ timeouts: { sweepCandidate: "1ms" }, sweepCandidate() { for (;;) {} } })`,
  )
  const { exit } = await banger(place, ["sweep", dir, "--plugin", plugin, ...NOW])
  expect(exit).toBe(null)
  expect((await banger(place, ["sweep", dir, ...NOW])).stderr).toContain("2 removed")
})

test.each([
  ["none", "export const x = 1", "has no default export"],
  ["another hook", "export default definePlugin({ preBoot() {} } as never)", "has no sweepCandidate hook"],
  ["a misspelt one", "export default definePlugin({ sweepCandidates() {} } as never)", "did you mean sweepCandidate?"],
])("a plugin with %s is wrong usage, and nothing is swept", async (_, code, message) => {
  const { dir, plugin } = prepare(code)
  const { stderr, exit } = await banger(place, ["sweep", dir, "--plugin", plugin, ...NOW])
  expect(stderr).toMatch(message)
  expect({ exit, left: readdirSync(dir).length }).toEqual({ exit: 2, left: 2 })
})

test("as root a plugin that others could have written is not asked", async () => {
  const { dir, plugin } = prepare("export default definePlugin({ sweepCandidate: () => undefined })")
  chmodSync(plugin, 0o666)
  const { stderr, exit } = await banger(place, ["sweep", dir, "--plugin", plugin, ...NOW])
  expect(stderr).toContain("guard.ts")
  expect({ exit, left: readdirSync(dir).length }).toEqual({ exit: 1, left: 2 })
})

test("plugins/sweep-guard.ts keeps the sockets of running services, and all when the supervisor does not answer", async () => {
  const dir = directoryIn(place.dir, "services")
  for (const service of ["web", "mail"]) {
    mkdirSync(join(dir, service))
    makeDead(join(dir, service, "rpc.sock"))
  }
  for (const name of ["cache.sock", "gone.sock"]) makeDead(join(dir, name))
  const supervisor = join(place.dir, "supervisor")
  const list = [
    { name: "web", status: "starting" },
    { name: "mail", status: "stopped" },
    { name: "cache", pm2_env: { status: "online" } },
  ]
  writeFileSync(supervisor, `#!/bin/sh\necho '${JSON.stringify(list)}'\n`, { mode: 0o755 })
  const plugin = join(place.dir, "sweep-guard.ts")
  writeFileSync(plugin, readFileSync(join(import.meta.dir, "../../plugins/sweep-guard.ts")))
  const words = ["sweep", dir, "--plugin", plugin, ...NOW]
  const failed = await banger(place, words, { SUPERVISOR: "false" })
  expect(failed.stderr).toContain("4 unknown, 4 errors")
  const swept = await banger(place, words, { SUPERVISOR: supervisor })
  expect(swept.stderr).toContain("2 removed, 2 kept (2 hook)")
  expect(existsSync(join(dir, "web/rpc.sock"))).toBe(true)
  expect(existsSync(join(dir, "mail/rpc.sock"))).toBe(false)
  expect(existsSync(join(dir, "cache.sock"))).toBe(true)
})

test("--metrics writes what node_exporter reads; a failed run keeps the time of the last success", async () => {
  const { dir } = prepare("")
  const file = join(place.dir, "banger.prom")
  expect((await banger(place, ["sweep", dir, "--metrics", file, ...NOW])).exit).toBe(0)
  const first = readFileSync(file, "utf8")
  expect(first.match(/^banger_sweep_\S+ \S+$/gm)?.filter((line) => !/seconds/.test(line))).toEqual([
    "banger_sweep_sockets_examined 2",
    "banger_sweep_sockets_live 0",
    "banger_sweep_sockets_stale 2",
    "banger_sweep_sockets_removed 2",
    ...["young", "owner", "links", "lock", "vm", "hook", "diag", "changed", "respawned", "mount", "unknown"].map(
      (reason) => `banger_sweep_sockets_spared{reason="${reason}"} 0`,
    ),
    "banger_sweep_directories_busy 0",
    "banger_sweep_vms_recovered 0",
    ...["removed", "dead", "alive", "kept", "unknown", "failed"].map((is) => `banger_sweep_leftovers{is="${is}"} 0`),
    "banger_sweep_errors 0",
  ])
  expect(statSync(file).mode & 0o777).toBe(0o644)
  const success = /last_success_timestamp_seconds (\d+\.?\d*)$/m
  expect(Number(success.exec(first)?.[1])).toBeCloseTo(Date.now() / 1000, -2)
  expect((await banger(place, ["sweep", join(place.dir, "none"), "--metrics", file])).exit).toBe(1)
  const second = readFileSync(file, "utf8")
  expect(second).toContain("banger_sweep_errors 1\n")
  expect(success.exec(second)?.[1]).toBe(success.exec(first)?.[1] ?? "")
  expect(readdirSync(place.dir).filter((name) => name.includes(".tmp"))).toEqual([])
})
