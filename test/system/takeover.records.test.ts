import { Database } from "bun:sqlite"
import { expect, test } from "bun:test"
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { close } from "../../src/base/linux/files.ts"
import { pidfdExited, pidfdOpen } from "../../src/base/linux/pidfd.ts"
import { tinyGuest } from "../tinyGuest.ts"
import { banger, start } from "./support/banger.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"
import { listed, noted, runDouble, signal, sql } from "./support/vms.ts"

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()
const handlesOf = (id: string) => join(place.state, "vms", id, "handles.json")

/** A VM without a supervisor, and its process. */
async function unsupervised(): Promise<{ id: string; pid: number }> {
  expect((await runDouble(place, firecracker, ["--supervise=none"])).exit).toBe(0)
  const [vm] = await listed(place)
  return { id: vm?.id ?? "", pid: vm?.pid ?? 0 }
}

async function die(pid: number): Promise<void> {
  const pidfd = pidfdOpen(pid)
  signal(pid, "SIGKILL")
  // Not until it is no longer listed: then it may still have files open.
  expect(pidfdExited(pidfd, 10_000)).toBe(true)
  close(pidfd)
}

/** What can happen to a file: each takes its path and what is in it. */
const DAMAGES: readonly [string, (path: string, good: Buffer) => void][] = [
  ["removed", (path) => rmSync(path)],
  ["emptied", (path) => writeFileSync(path, "")],
  ...Array.from({ length: 20 }, (_, index): [string, (path: string, good: Buffer) => void] => [
    `cut at ${index + 1}/21`,
    (path, good) => writeFileSync(path, good.subarray(0, Math.floor((good.length * (index + 1)) / 21))),
  ]),
  ["garbage", (path) => writeFileSync(path, Buffer.from(Array.from({ length: 5000 }, (_, n) => (n * 73) % 256)))],
  ["a symlink", (path) => void Bun.spawnSync(["ln", "-sfT", "/etc/passwd", path])],
  ["a directory", (path) => void Bun.spawnSync(["sh", "-c", `rm -rf ${path} && mkdir ${path}`])],
  ["open to others", (path) => void Bun.spawnSync(["chmod", "0666", path])],
  ["another user's", (path) => void Bun.spawnSync(["chown", "65534", path])],
]

test("whatever happens to handles.json, a VM that lives is left running and mended, one that is dead is gone", async () => {
  for (const [damage, harm] of DAMAGES) {
    const { id, pid } = await unsupervised()
    const good = readFileSync(handlesOf(id))
    harm(handlesOf(id), good)
    const alive = await banger(place, ["ps", "--reconcile"])
    expect({ damage, ...alive }).toMatchObject({ exit: 0 })
    expect(await listed(place), damage).toMatchObject([{ id, pid, liveness: "alive", state: "running" }])
    const { journal } = JSON.parse(readFileSync(handlesOf(id), "utf8"))
    expect(journal, damage).toEqual(JSON.parse(good.toString()).journal)
    await die(pid)
    harm(handlesOf(id), good)
    const dead = await banger(place, ["ps", "--reconcile"])
    expect({ damage, ...dead }).toMatchObject({ exit: 0 })
    expect(
      noted(place, "ended").filter((one) => one === id),
      damage,
    ).toHaveLength(1)
    expect(records(place)[0], damage).toMatchObject({ id, state: "failed", handles: "[]" })
  }
})

test("state.db is locked for five seconds: it is waited for", async () => {
  const { id, pid } = await unsupervised()
  await die(pid)
  const db = new Database(join(place.state, "state.db"))
  db.run("begin immediate")
  const reconciling = banger(place, ["ps", "--reconcile"])
  await Bun.sleep(5000)
  db.run("rollback")
  db.close()
  expect((await reconciling).exit).toBe(0)
  expect(noted(place, "ended")).toEqual([id])
})

test.each(["read-only", "full"])(
  "the state's disk is %s: nothing is done that could not be written down",
  async (what) => {
    mkdirSync(place.state, { mode: 0o700 })
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=4M,mode=700", "small", place.state]).exitCode).toBe(0)
    try {
      const { id, pid } = await unsupervised()
      await die(pid)
      const filler = join(place.state, "filler")
      if (what === "read-only") Bun.spawnSync(["mount", "-o", "remount,ro", place.state])
      else {
        rmSync(join(place.state, "reserve"))
        writeFileFully(filler)
      }
      const { stderr } = await banger(place, ["ps", "--reconcile"])
      expect(stderr).toMatch(/state.db|handles.json|cannot be written|cannot be used|ENOSPC|EROFS|No space|Read-only/)
      expect(noted(place, "ended")).toEqual([])
      if (what === "read-only") Bun.spawnSync(["mount", "-o", "remount,rw", place.state])
      else rmSync(filler)
      expect((await banger(place, ["ps", "--reconcile"])).exit).toBe(0)
      expect(noted(place, "ended")).toEqual([id])
      expect(records(place)).toMatchObject([{ id, handles: "[]" }])
    } finally {
      Bun.spawnSync(["umount", "--lazy", place.state])
    }
  },
)

function writeFileFully(path: string): void {
  Bun.spawnSync(["dd", "if=/dev/zero", `of=${path}`, "bs=4k", "count=2048"], { stderr: "ignore" })
}

onBoth(
  "after a reboot nothing is alive: all is released, and pids that belong to others now are left in peace",
  async () => {
    const { id, pid } = await unsupervised()
    await die(pid)
    const other = Bun.spawn(["sleep", "600"])
    const uid = JSON.parse(readFileSync(handlesOf(id), "utf8")).journal.find(
      (entry: { kind: string }) => entry.kind === "process",
    ).identity.runsAs.uid
    const neighbour = Bun.spawn(["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "sleep", "600"])
    // As the next boot finds it: another boot id, a pid that was given away, and no runtime directory.
    const swap = (text: string) =>
      text.replaceAll(/"bootId":( ?)"[^"]*"/g, '"bootId":$1"before"').replaceAll(`"pid":${pid}`, `"pid":${other.pid}`)
    sql(place, `update vms set boot_id = 'before', handles = '${swap(records(place)[0]?.handles ?? "")}'`)
    for (const path of [handlesOf(id), `${handlesOf(id)}.prev`]) rmSync(path)
    rmSync(place.runtime, { recursive: true })
    const { stderr, exit } = await banger(place, ["ps", "--reconcile"])
    expect({ stderr, exit }).toMatchObject({ exit: 0 })
    expect([other.exitCode, neighbour.exitCode]).toEqual([null, null])
    expect(records(place)).toMatchObject([{ id, state: "failed", handles: "[]" }])
    expect(noted(place, "ended")).toEqual([id])
    for (const child of [other, neighbour]) {
      child.kill()
      await child.exited
    }
  },
)

test("a plugin of the user who asked by sudo runs its hooks later only if nothing of it has changed", async () => {
  const dir = join(place.dir, "theirs")
  mkdirSync(dir)
  const notes = join(dir, "notes")
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is a plugin's own
  const part = 'export const note = (path: string) => Bun.spawnSync(["sh", "-c", `echo ran >> ${path}`])\n'
  const kernel = join(dir, "vmlinux")
  writeFileSync(kernel, tinyGuest("PRINT[up]"))
  const plugin = `import { definePlugin } from "banger"
    import { note } from "./part.ts"
    export default definePlugin({
      name: "theirs", vmm: "firecracker", kernel: ${JSON.stringify(kernel)},
      postStop: () => void note(${JSON.stringify(notes)}),
    })\n`
  const ran = () => (Bun.file(notes).size > 0 ? readFileSync(notes, "utf8").split("\n").length - 1 : 0)
  for (const [change, runs] of [
    [false, 1],
    [true, 1],
  ] as const) {
    writeFileSync(join(dir, "part.ts"), part)
    writeFileSync(join(dir, "plugin.ts"), plugin)
    Bun.spawnSync(["chown", "-R", "4242:4242", dir])
    const env = { ...firecracker.env, SUDO_UID: "4242" }
    expect((await banger(place, ["run", "--supervise=none", join(dir, "plugin.ts")], env)).exit).toBe(0)
    if (change) writeFileSync(join(dir, "part.ts"), `${part}// and something else\n`)
    await die(processesOf(place)[0] ?? 0)
    const { stderr, exit } = await banger(place, ["ps", "--reconcile"])
    expect({ stderr, exit }).toMatchObject({ exit: 0 })
    expect(ran()).toBe(runs)
    if (change) expect(stderr).toContain("is not as it was when the VM was booted")
  }
})

test("ps starts no other program, however many VMs there are", async () => {
  const { id } = await unsupervised()
  const log = join(place.dir, "execs")
  const through = ["strace", "-f", "-o", log, "-e", "trace=execve"]
  const { stdout, exit } = await start(place, ["ps", "--json"], {}, { through }).ended
  expect(JSON.parse(stdout)).toMatchObject([{ id, liveness: "alive" }])
  expect(exit).toBe(0)
  expect(readFileSync(log, "utf8").match(/execve\(/g)).toHaveLength(1)
  expect((await banger(place, ["kill", id])).exit).toBe(0)
})

onBoth("a VM whose logs somebody removed is stopped all the same, and its jail is not left busy", async () => {
  const { id } = await unsupervised()
  for (const log of ["console.log", "vmm.log", "firecracker.log"])
    rmSync(join(place.state, "vms", id, log), { force: true })
  const { stderr, exit } = await banger(place, ["stop", id])
  expect(stderr).toContain("console.log was removed")
  expect(stderr).not.toContain("was in use")
  expect(exit).toBe(0)
})

onBoth(
  "what cannot be released is told by ps --reconcile's exit code, also of a VM with hooks; its name is free",
  async () => {
    const { id, pid } = await unsupervised()
    const busy = join(place.runtime, id, "busy")
    mkdirSync(busy)
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "busy", busy]).exitCode).toBe(0)
    await die(pid)
    const { stderr, exit } = await banger(place, ["ps", "--reconcile"])
    expect(stderr).toContain(`double (${id}) could not be finished`)
    expect(exit).toBe(1)
    expect(noted(place, "ended")).toEqual([id])
    expect((await runDouble(place, firecracker)).exit).toBe(0)
    expect((await banger(place, ["kill", "double"])).exit).toBe(0)
    Bun.spawnSync(["umount", busy])
    expect((await banger(place, ["ps", "--reconcile"])).exit).toBe(0)
    expect(noted(place, "ended").filter((one) => one === id)).toHaveLength(1)
  },
)

test.each(["read-only", "full"])(
  "the state's disk is %s and nobody has the database open: a look is possible",
  async (what) => {
    mkdirSync(place.state, { mode: 0o700 })
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=4M,mode=700", "small", place.state]).exitCode).toBe(0)
    try {
      const { id, pid } = await unsupervised()
      const filler = join(place.state, "filler")
      if (what === "full") writeFileFully(filler)
      const ro = join(place.dir, "ro")
      mkdirSync(ro, { mode: 0o700 })
      if (what === "read-only") {
        Bun.spawnSync(["mount", "--bind", place.state, ro])
        expect(Bun.spawnSync(["mount", "-o", "remount,bind,ro", ro]).exitCode).toBe(0)
      }
      const at = what === "full" ? place : { ...place, state: ro }
      for (const [words, said] of [
        [["ps", "--json"], `"pid": ${pid}`],
        [["inspect", id], '"liveness": "alive"'],
        [["logs", id], "up"],
        [["events"], '"state":"running"'],
      ] as const) {
        const { stdout, stderr, exit } = await banger(at, words)
        expect({ words, stderr, exit }).toMatchObject({
          exit: 0,
          stderr: expect.stringContaining("only a look is possible"),
        })
        expect(stdout).toContain(said)
      }
      Bun.spawnSync(["umount", ro])
      rmSync(filler, { force: true })
      expect((await banger(place, ["stop", id])).exit).toBe(0)
    } finally {
      Bun.spawnSync(["umount", "--lazy", place.state])
    }
  },
)

test("where the state cannot be written, and there is no room for a copy to look at, it is said where to make some", async () => {
  const disks = [place.state, place.runtime]
  for (const path of disks) {
    mkdirSync(path, { mode: 0o700 })
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=4M,mode=700", "small", path]).exitCode).toBe(0)
  }
  try {
    const { id } = await unsupervised()
    for (const path of disks) writeFileFully(join(path, "filler"))
    const { stderr, exit } = await banger(place, ["ps", "--json"])
    expect({ exit, said: JSON.parse(stderr) }).toMatchObject({ exit: 1, said: { error: { code: "NO_SPACE" } } })
    expect(stderr).toContain(`make room in ${place.runtime}`)
    expect(readdirSync(place.runtime).filter((name) => name.startsWith(".look"))).toEqual([])
    for (const path of disks) rmSync(join(path, "filler"))
    expect((await banger(place, ["stop", id])).exit).toBe(0)
  } finally {
    for (const path of disks) Bun.spawnSync(["umount", "--lazy", path])
  }
})
