import { expect, test } from "bun:test"
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { otherPidNamespace } from "../fixtures/otherPidNamespace.ts"
import { banger, start, until } from "../system/support/banger.ts"
import { processesOf, records } from "../system/support/place.ts"
import { isAlive, killed, listed, noted, signal, sql } from "../system/support/vms.ts"
import { eachOnDoubles } from "./support/place.ts"
import { boot, bootHeld, bootUnsupervised, bootWords, heldWords, hold, hooksOf } from "./support/vms.ts"

// A VM whose supervisor is gone, and who comes upon it: recover (`ps --reconcile`, the next run of the name), `supervise`,
// `stop`.

const place = eachOnDoubles()
const handlesOf = (id: string) => join(place.state, "vms", id, "handles.json")
const ends = (id: string) => noted(place, "ended").filter((one) => one === id).length

test("alive: recover leaves it, supervise watches over the same process to its end, stop stops it", async () => {
  const { id, pid, supervisor } = await boot(place)
  await killed(supervisor)
  expect((await banger(place, ["ps"])).stdout).toContain("running, unsupervised")
  expect((await banger(place, ["ps", "--reconcile"])).exit).toBe(0)
  expect(processesOf(place)).toEqual([pid])
  expect(await banger(place, ["supervise", "--detach", "double"])).toMatchObject({ stdout: "double\n", exit: 0 })
  const [again] = await listed(place)
  expect(again).toMatchObject({ id, pid, state: "running", liveness: "alive" })
  expect(again?.supervisor).not.toBe(supervisor)
  const second = await banger(place, ["supervise", "double"])
  expect(second.stderr).toContain("has a supervisor")
  expect(second.exit).toBe(1)
  // What has no terminal is not ended by one that goes.
  signal(again?.supervisor, "SIGHUP")
  await killed(pid)
  expect(await banger(place, ["wait", "double"])).toMatchObject({
    stdout: expect.stringContaining("killed (SIGKILL)"),
    exit: 1,
  })
  expect(noted(place, "ended")).toEqual([id])
})

test("alive: stop ends it as its plugin says, from the process that asks", async () => {
  const { id, pid } = await bootUnsupervised(place)
  expect((await banger(place, ["stop", id])).exit).toBe(0)
  expect(isAlive(pid)).toBe(false)
  expect(noted(place, "ended")).toEqual([id])
  expect(records(place)).toMatchObject([{ id, state: "stopped" }])
})

test.each([
  ["recover", ["ps", "--reconcile"], 0],
  ["supervise", ["supervise", "double"], 1],
  ["stop", ["stop", "double"], 0],
  ["rm", ["rm", "double"], 0],
] as const)("dead: %s finishes it, once, as a failure", async (_, words, status) => {
  const { id, pid } = await bootUnsupervised(place)
  await killed(pid)
  expect((await banger(place, words)).exit).toBe(status)
  expect((await banger(place, ["ps", "--reconcile"])).exit).toBe(0)
  expect(noted(place, "ended")).toEqual([id])
  for (const record of records(place)) expect(record).toMatchObject({ id, state: "failed" })
})

test("unknown, for it was started in another PID namespace: nobody touches it, and a look tells why", async () => {
  const { id, pid } = await bootUnsupervised(place)
  using another = otherPidNamespace()
  const journal = records(place)[0]?.handles ?? ""
  const good = readFileSync(handlesOf(id), "utf8")
  // As a banger of another PID namespace sees it: neither its pid nor its pidfd's inode means anything there.
  const elsewhere = (text: string) =>
    text.replaceAll(/("pidNamespace": ?)"[^"]*"/g, `$1"${another.inode}"`).replaceAll(/("pidfd": ?)"\d+"/g, '$1"0"')
  expect(elsewhere(journal)).not.toBe(journal)
  writeFileSync(handlesOf(id), elsewhere(good))
  sql(place, `update vms set handles = '${elsewhere(journal)}'`)
  const listing = await banger(place, ["ps", "--json"])
  expect(JSON.parse(listing.stdout)).toMatchObject([{ id, liveness: "unknown" }])
  expect(listing.exit).toBe(1)
  for (const words of [
    ["supervise", id],
    ["stop", id],
    ["rm", id],
  ]) {
    const { stderr, exit } = await banger(place, words)
    expect({ words, exit }).toEqual({ words, exit: 1 })
    expect(stderr).toContain(`cannot tell whether double (${id}) runs: it was started in another PID namespace`)
  }
  expect(processesOf(place)).toEqual([pid])
  writeFileSync(handlesOf(id), good)
  sql(place, `update vms set handles = '${journal}'`)
  expect((await banger(place, ["stop", id])).exit).toBe(0)
})

test("unknown, for neither handles nor record can be read: it is told, nothing is guessed, nothing is removed", async () => {
  const { id, pid } = await bootUnsupervised(place)
  const good = readFileSync(handlesOf(id))
  const mirror = records(place)[0]?.handles
  for (const path of [handlesOf(id), `${handlesOf(id)}.prev`]) writeFileSync(path, "{")
  sql(place, "update vms set handles = '{'")
  const listing = await banger(place, ["ps", "--json"])
  expect(listing.exit).toBe(1)
  expect(JSON.parse(listing.stdout)).toMatchObject([{ liveness: "unknown" }])
  for (const words of [
    ["ps", "--reconcile"],
    ["stop", id],
    ["kill", id],
    ["rm", "-f", id],
  ]) {
    const { stderr, exit } = await banger(place, words)
    expect({ words, exit }).toEqual({ words, exit: 1 })
    expect(stderr).toContain("can be read; nothing was removed")
  }
  expect(processesOf(place)).toEqual([pid])
  writeFileSync(handlesOf(id), good)
  sql(place, `update vms set handles = '${mirror}'`)
  expect((await banger(place, ["stop", id])).exit).toBe(0)
})

/** What can happen to a file. */
const DAMAGES: readonly [string, (path: string) => void][] = [
  ["removed", (path) => rmSync(path)],
  ["emptied", (path) => writeFileSync(path, "")],
  ["cut", (path) => writeFileSync(path, readFileSync(path).subarray(0, 200))],
  ["a symlink", (path) => void Bun.spawnSync(["ln", "-sfT", "/etc/passwd", path])],
  ["a directory", (path) => void Bun.spawnSync(["sh", "-c", `rm ${path} && mkdir ${path}`])],
  ["open to others", (path) => void Bun.spawnSync(["chmod", "0666", path])],
]

test.each(DAMAGES)(
  "handles.json is %s: a VM that lives is left running and mended, one that is dead is finished",
  async (_, harm) => {
    const { id, pid } = await bootUnsupervised(place)
    const good = readFileSync(handlesOf(id), "utf8")
    harm(handlesOf(id))
    expect((await banger(place, ["ps", "--reconcile"])).exit).toBe(0)
    expect(processesOf(place)).toEqual([pid])
    expect(JSON.parse(readFileSync(handlesOf(id), "utf8")).journal).toEqual(JSON.parse(good).journal)
    await killed(pid)
    harm(handlesOf(id))
    expect((await banger(place, ["ps", "--reconcile"])).exit).toBe(0)
    expect(ends(id)).toBe(1)
    expect(records(place)).toMatchObject([{ id, state: "failed" }])
  },
)

test("with only a generation left from before its process was known, a VM that runs is taken over, not killed", async () => {
  const { id, pid } = await bootUnsupervised(place)
  const before = JSON.parse(readFileSync(`${handlesOf(id)}.prev`, "utf8")).journal
  expect(before).toContainEqual(expect.objectContaining({ kind: "process", identity: null }))
  writeFileSync(handlesOf(id), "{")
  sql(place, "update vms set handles = '{'")
  expect(await banger(place, ["supervise", "--detach", id])).toMatchObject({ stdout: "double\n", exit: 0 })
  expect(await listed(place)).toMatchObject([{ id, pid, liveness: "alive", state: "running" }])
  expect(JSON.parse(readFileSync(handlesOf(id), "utf8")).journal).toContainEqual(
    expect.objectContaining({ kind: "process", identity: expect.objectContaining({ pid }) }),
  )
  expect((await banger(place, ["stop", id])).exit).toBe(0)
})

test("handles of a newer banger are refused with a clear word, and left alone", async () => {
  const { id } = await bootUnsupervised(place)
  const good = readFileSync(handlesOf(id), "utf8")
  writeFileSync(handlesOf(id), good.replace('"schema": 1', '"schema": 2'))
  const { stderr, exit } = await banger(place, ["stop", id])
  expect(stderr).toContain("was written by a newer banger (schema 2, this one knows 1)")
  expect(exit).toBe(1)
  writeFileSync(handlesOf(id), good)
  expect((await banger(place, ["stop", id])).exit).toBe(0)
})

test("a plugin that has changed since is not run: its hooks are skipped and that is told; the VM is cleaned up", async () => {
  const { pid } = await bootUnsupervised(place)
  await killed(pid)
  sql(place, "update vms set plugin_sha256 = 'other'")
  const { stderr, exit } = await banger(place, ["ps", "--reconcile"])
  expect(stderr).toContain("its hooks are not run")
  expect(stderr).toContain("has changed since the VM was booted")
  expect(exit).toBe(0)
  expect(noted(place, "ended")).toEqual([])
})

test("the next run of the name finishes a dead VM first; one that lives keeps the name", async () => {
  const { id, pid } = await bootUnsupervised(place)
  const refused = await banger(place, bootWords(place, { memory: "48M" }))
  expect(refused.stderr).toContain(`double runs already (${id}), without a supervisor`)
  expect(refused.exit).toBe(1)
  await killed(pid)
  await boot(place)
  expect(noted(place, "ended")).toEqual([id])
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
})

test("a supervisor killed in postStop: the hook runs again, and is told so; one that is done does not", async () => {
  const { supervisor } = await bootHeld(place)
  hold(place, "postStop")
  const stopping = start(place, ["stop", "held"])
  await until(() => hooksOf(place).includes("postStop"))
  await killed(supervisor)
  hold(place, undefined)
  // Who asked for the stop goes on in its place.
  expect((await stopping.ended).exit).toBe(0)
  expect(hooksOf(place)).toEqual(["preBoot", "postBoot", "preStop", "postStop", "postStop again"])
  expect((await banger(place, ["rm", "held"])).exit).toBe(0)
  expect(hooksOf(place)).toHaveLength(5)
})

test("a supervisor killed in preStop: it was begun, so it is not run again; postStop runs once", async () => {
  const { id, supervisor } = await bootHeld(place)
  hold(place, "preStop")
  const stopping = start(place, ["stop", "held"])
  await until(() => hooksOf(place).includes("preStop"))
  await killed(supervisor)
  hold(place, undefined)
  expect((await stopping.ended).exit).toBe(0)
  expect(hooksOf(place)).toEqual(["preBoot", "postBoot", "preStop", "postStop"])
  expect(records(place)).toMatchObject([{ id, state: "stopped" }])
})

test("a banger killed in preBoot: a failed start, which recover finishes", async () => {
  hold(place, "preBoot")
  const running = start(place, heldWords(place, { flags: [] }))
  await until(() => hooksOf(place).includes("preBoot"))
  running.signal("SIGKILL")
  await running.ended
  hold(place, undefined)
  expect((await banger(place, ["ps", "--reconcile"])).exit).toBe(0)
  expect(hooksOf(place)).toEqual(["preBoot", "postStop"])
  expect(records(place)).toMatchObject([{ state: "failed" }])
})

test("what cannot be released is told once, by the exit code too; it stays on the journal, and the name is free", async () => {
  const { id, pid } = await bootUnsupervised(place)
  await killed(pid)
  const runtime = join(place.runtime, id)
  renameSync(runtime, join(place.dir, "aside"))
  writeFileSync(runtime, "a file where the directory was")
  const { stderr, exit } = await banger(place, ["stop", id])
  expect(exit).toBe(1)
  expect(stderr.match(/not everything of .* was released/g)).toHaveLength(1)
  expect(stderr.match(/cannot be removed/g)).toHaveLength(1)
  expect(ends(id)).toBe(1)
  expect(JSON.parse(records(place)[0]?.handles ?? "")).toMatchObject([{ kind: "runtime", path: runtime }])
  await boot(place)
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
  rmSync(runtime)
  expect((await banger(place, ["stop", id])).exit).toBe(0)
  expect(ends(id)).toBe(1)
  expect(readdirSync(place.runtime)).toEqual([])
})

test("five that come upon one dead VM at once finish it once", async () => {
  const { id, pid } = await bootUnsupervised(place)
  await killed(pid)
  const words = [
    ["ps", "--reconcile"],
    ["stop", id],
    ["ps", "--reconcile"],
    ["wait", id],
    ["kill", id],
  ]
  const ended = await Promise.all(words.map((each) => banger(place, each)))
  for (const [index, { exit, stderr }] of ended.entries())
    expect({ words: words[index], exit, stderr }).toMatchObject({ exit: words[index]?.[0] === "wait" ? 1 : 0 })
  expect(noted(place, "ended")).toEqual([id])
})

test("a run's time goes on when its supervisor is gone, whatever the host's clock was set to meanwhile", async () => {
  const set = (hours: number) => sql(place, `update vms set running_at = running_at + ${hours * 3_600_000}`)
  const { id, supervisor } = await boot(place, { timeouts: { run: "10m" } })
  await killed(supervisor)
  set(-1)
  expect((await banger(place, ["supervise", "-d", id])).exit).toBe(0)
  await Bun.sleep(300)
  expect(records(place)).toMatchObject([{ state: "running" }])
  expect((await banger(place, ["stop", id])).exit).toBe(0)
  const short = await boot(place, { timeouts: { run: "3s" } })
  await killed(short.supervisor)
  set(1)
  expect((await banger(place, ["supervise", "-d", short.id])).exit).toBe(0)
  await until(() => records(place)[0]?.state === "failed")
  expect((await banger(place, ["logs", "--supervisor", short.id])).stdout).toContain("still ran after 3s")
})
