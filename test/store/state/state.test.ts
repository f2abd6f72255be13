import { expect, test } from "bun:test"
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { type Failure, isFailure } from "../../../src/base/terms/failure.ts"
import { NAME_PATTERN } from "../../../src/base/terms/name.ts"
import { hostPath } from "../../../src/base/terms/path.ts"
import { takeLock, withLock } from "../../../src/store/files/lock.ts"
import { ensurePrivateDirectory } from "../../../src/store/files/privateDirectory.ts"
import { replaceFile } from "../../../src/store/files/replaceFile.ts"
import { type Resource, readHandles, writeHandles } from "../../../src/store/state/handles.ts"
import { newVmId, places, vmLayout } from "../../../src/store/state/places.ts"
import { recall } from "../../../src/store/state/recall.ts"
import { mirrored, type VmRecord } from "../../../src/store/state/records.ts"
import { failure } from "../../failure.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const modeOf = (path: string) => (statSync(path).mode & 0o7777).toString(8)

test.each([
  [0, {}, "/var/lib/banger", "/run/banger"],
  [0, { HOME: "/root", XDG_STATE_HOME: "/x" }, "/var/lib/banger", "/run/banger"],
  [1000, { HOME: "/home/u" }, "/home/u/.local/state/banger", "/tmp/banger-runtime-1000"],
  [
    1000,
    { HOME: "/home/u", XDG_STATE_HOME: "/s", XDG_RUNTIME_DIR: "/run/user/1000" },
    "/s/banger",
    "/run/user/1000/banger",
  ],
  [1000, { HOME: "/home/u", XDG_RUNTIME_DIR: "" }, "/home/u/.local/state/banger", "/tmp/banger-runtime-1000"],
  [0, { BANGER_STATE_DIR: "/a", BANGER_RUNTIME_DIR: "/b" }, "/a", "/b"],
] as const)("uid %d with %p keeps its state in %s and its sockets in %s", (uid, env, state, runtime) => {
  expect(places(env, uid)).toMatchObject({ state, runtime })
})

test("the configuration is where its user may write it", () => {
  expect(places({}, 0).config).toBe("/etc/banger/config.toml")
  expect(places({ HOME: "/home/u" }, 1).config).toBe("/home/u/.config/banger/config.toml")
  expect(places({ XDG_CONFIG_HOME: "/c" }, 1).config).toBe("/c/banger/config.toml")
  expect(places({ BANGER_CONFIG: "/my.toml" }, 0).config).toBe("/my.toml")
})

test("a place that is no absolute path is refused by the variable's name", () => {
  expect(() => places({ BANGER_STATE_DIR: "state" }, 0)).toThrow(
    'BANGER_STATE_DIR must be an absolute path, not "state"',
  )
})

test("all that is removed with a VM is below its runtime directory or its stage", () => {
  const layout = vmLayout({ state: "/s", runtime: "/r" }, "id")
  expect([layout.qmpSocket, layout.consoleInput].every((path) => path.startsWith("/r/id/"))).toBe(true)
  expect(layout.stage).toBe(hostPath("/s/vms/id/stage"))
})

test("a directory of ours is made private, and tightened when it is not", () => {
  const path = join(directory.path, "a/b")
  expect(ensurePrivateDirectory(path, 0o1700, false)).toBe(path)
  expect(modeOf(path)).toBe("1700")
  Bun.spawnSync(["chmod", "0755", path])
  ensurePrivateDirectory(path, 0o1700, true)
  expect(modeOf(path)).toBe("1700")
})

test("a directory the user named is not changed, but refused when it is open", () => {
  const path = join(directory.path, "open")
  mkdirSync(path, { mode: 0o755 })
  expect(() => ensurePrivateDirectory(path, 0o1700, false)).toThrow(
    failure("UNTRUSTED", "is open to other users (mode 755)"),
  )
  expect(modeOf(path)).toBe("755")
})

test("a file in the directory's place is refused; symlinks of this user's lead to it, in its place too", () => {
  mkdirSync(join(directory.path, "real"), { mode: 0o700 })
  symlinkSync("real", join(directory.path, "link"))
  writeFileSync(join(directory.path, "file"), "")
  expect(ensurePrivateDirectory(join(directory.path, "link"), 0o700, true)).toBe(join(directory.path, "real"))
  expect(() => ensurePrivateDirectory(join(directory.path, "file"), 0o700, true)).toThrow(
    failure("UNTRUSTED", "is not a directory"),
  )
  expect(ensurePrivateDirectory(join(directory.path, "link/inside"), 0o700, true)).toBe(
    join(directory.path, "real/inside"),
  )
  symlinkSync("loop", join(directory.path, "loop"))
  expect(() => ensurePrivateDirectory(join(directory.path, "loop/x"), 0o700, true)).toThrow(
    failure("UNTRUSTED", "is one symlink too many"),
  )
})

const asRoot = test.skipIf(process.geteuid?.() !== 0)

asRoot.each<[string, (dir: string) => void, string, string]>([
  ["another user's", (dir) => chownSync(dir, 1234, 1234), "belongs to uid 1234", "chown -h root"],
  ["open to all", (dir) => chmodSync(dir, 0o777), "can be written by others", "chmod go-w"],
  ["open to a group", (dir) => chmodSync(dir, 0o775), "can be written by others", "chmod go-w"],
  [
    "another user's, and sticky",
    (dir) => void Bun.spawnSync(["sh", "-c", 'chown 1234 "$0"; chmod 1777 "$0"', dir]),
    "belongs to",
    "chown -h",
  ],
])(
  "a directory on the way that is %s is refused before anything is made, and the hint mends it",
  (_, spoil, why, mend) => {
    const above = join(directory.path, "u's own")
    for (const way of [above, join(directory.path, "link")]) {
      rmSync(above, { recursive: true, force: true })
      rmSync(join(directory.path, "link"), { force: true })
      mkdirSync(above)
      symlinkSync("u's own", join(directory.path, "link"))
      spoil(above)
      for (const path of [join(way, "st"), join(way, "deep/er/st")]) {
        const error = caught(() => ensurePrivateDirectory(path, 0o711, false))
        expect(error).toMatchObject({ code: "UNTRUSTED", message: expect.stringContaining(`${above} ${why}`) })
        expect(readdirSync(above)).toEqual([])
      }
      const { hint = "" } = caught(() => ensurePrivateDirectory(join(way, "st"), 0o711, false))
      expect(hint).toContain(mend)
      const [, command = ""] = /^run: (.*?);/.exec(hint) ?? []
      for (let tries = 0; tries < 2; tries++) {
        Bun.spawnSync(["sh", "-c", command])
        Bun.spawnSync(["chmod", "go-w", above])
      }
      expect(ensurePrivateDirectory(join(way, "st"), 0o711, false)).toBe(join(above, "st"))
    }
  },
)

asRoot("a symlink that another user made is not followed", () => {
  mkdirSync(join(directory.path, "real"))
  symlinkSync("real", join(directory.path, "link"))
  lchownSync(join(directory.path, "link"), 1234, 1234)
  expect(() => ensurePrivateDirectory(join(directory.path, "link"), 0o700, true)).toThrow(
    failure("UNTRUSTED", "link belongs to uid 1234"),
  )
})

test("what cannot be made or looked at says which variable to set", () => {
  writeFileSync(join(directory.path, "file"), "")
  expect(caught(() => ensurePrivateDirectory("/proc/self/nothing/st", 0o700, true))).toMatchObject({
    code: "BAD_CONFIG",
    hint: "use another place",
  })
})

function caught(work: () => unknown): Failure {
  try {
    work()
  } catch (error) {
    if (isFailure(error)) return error
    throw error
  }
  throw new Error("nothing was thrown")
}

test("a file is replaced whole, whenever its writer is killed", async () => {
  const path = join(directory.path, "file.json")
  const code = `
    import { replaceFile } from "${join(import.meta.dir, "../../../src/store/files/replaceFile.ts")}"
    for (let i = 0; ; i++) replaceFile(${JSON.stringify(path)}, JSON.stringify({ i, filler: "x".repeat(20000) }))`
  for (let round = 0; round < 10; round++) {
    const writer = Bun.spawn([process.execPath, "-e", code])
    while (!existsSync(path)) await Bun.sleep(1)
    await Bun.sleep(round * 3)
    writer.kill("SIGKILL")
    await writer.exited
    expect(JSON.parse(readFileSync(path, "utf8")).filler).toHaveLength(20000)
  }
  replaceFile(path, "new")
  expect(readFileSync(path, "utf8")).toBe("new")
  expect(modeOf(path)).toBe("600")
})

test("a file that cannot be replaced leaves nothing beside it, nor does it follow what lies there", () => {
  const path = join(directory.path, "taken")
  mkdirSync(path)
  expect(() => replaceFile(path, "new")).toThrow("EISDIR")
  writeFileSync(join(directory.path, "victim"), "mine")
  symlinkSync("victim", join(directory.path, `.file.${process.pid}.tmp`))
  replaceFile(join(directory.path, "file"), "new")
  expect(readFileSync(join(directory.path, "victim"), "utf8")).toBe("mine")
  expect(readdirSync(directory.path).sort()).toEqual(["file", "taken", "victim"])
})

const JOURNAL: readonly Resource[] = [
  { kind: "runtime", path: "/run/banger/x" },
  { kind: "process", identity: { pid: 1234, startTime: 1, bootId: "b", uid: 0, root: "1:2" } },
]

test("handles are believed whole or not at all: cut at any byte, changed at any byte, of another schema", () => {
  const path = join(directory.path, "handles.json")
  writeHandles(path, { generation: 1, journal: JOURNAL })
  expect(readHandles(path)).toEqual({ is: "good", generation: 1, journal: [...JOURNAL] })
  const good = readFileSync(path)
  for (let length = 0; length < good.length - 1; length++) {
    writeFileSync(path, good.subarray(0, length))
    expect(readHandles(path).is).toBe("bad")
  }
  const journalAt = good.indexOf('"journal"')
  for (let at = journalAt; at < good.length; at++) {
    const bad = Buffer.from(good)
    bad[at] = (bad[at] ?? 0) ^ 1
    writeFileSync(path, bad)
    // A changed blank or newline leaves the same journal; anything else must be noticed.
    const read = readHandles(path)
    if (read.is === "good") expect([...read.journal]).toEqual([...JOURNAL])
  }
  writeFileSync(path, good.toString().replace('"schema": 1', '"schema": 2'))
  expect(() => readHandles(path)).toThrow(
    failure("BAD_STATE", "was written by a newer banger (schema 2, this one knows 1)"),
  )
  expect(readHandles(join(directory.path, "none")).is).toBe("missing")
})

/** A jailed VMM's journal with the name that this field had in older bangers, or has now. */
const jailed = (field: "runsAs" | "becomes") => {
  const marks = { pid: 77, startTime: 5, bootId: "b", uid: 0, root: "8:1:2" }
  return [{ kind: "process", identity: { ...marks, [field]: { uid: 1000, root: "8:1:3" } } }]
}

test("what a jailed VMM runs as is written by its name", () => {
  const path = join(directory.path, "handles.json")
  writeHandles(path, { generation: 1, journal: jailed("runsAs") as Resource[] })
  expect(readFileSync(path, "utf8")).toMatch(/"runsAs": \{\s*"uid": 1000/)
  expect(readHandles(path)).toMatchObject({ is: "good", journal: jailed("runsAs") })
})

test("handles and records of an older banger, which called it becomes, are read as they are written now", () => {
  const path = join(directory.path, "handles.json")
  const journal = jailed("becomes")
  const sha256 = new Bun.CryptoHasher("sha256").update(JSON.stringify(journal)).digest("hex")
  const old = { schema: 1, generation: 3, bootId: "b", writtenAt: 1, sha256, journal }
  writeFileSync(path, JSON.stringify(old), { mode: 0o600 })
  expect(readHandles(path)).toEqual({ is: "good", generation: 3, journal: jailed("runsAs") as Resource[] })
  expect(readFileSync(path, "utf8")).toContain("becomes")
  const record = { handles: JSON.stringify(journal), generation: 3, id: "vm-1" } as VmRecord
  expect(mirrored(record)).toEqual({ generation: 3, journal: jailed("runsAs") as Resource[] })
  expect(recall(record, path)).toEqual({
    ...{ generation: 3, journal: jailed("runsAs") as Resource[] },
    ...{ troubles: [], whole: true },
  })
  writeFileSync(path, JSON.stringify({ ...old, journal: jailed("runsAs") }))
  expect(readHandles(path)).toEqual({ is: "bad", why: "its checksum is wrong" })
})

test("a turn that does not come is given up by the lock's name; one that comes is taken", async () => {
  const path = join(directory.path, "lock")
  const code = `
    import { withLock } from "${join(import.meta.dir, "../../../src/store/files/lock.ts")}"
    withLock(${JSON.stringify(path)}, () => { console.log("held"); Bun.sleepSync(600_000) })`
  const holder = Bun.spawn([process.execPath, "-e", code], { stdout: "pipe" })
  await holder.stdout.getReader().read()
  expect(() => withLock(path, () => {}, 20)).toThrow(failure("BUSY", `another process keeps ${path} locked`))
  holder.kill("SIGKILL")
  expect(withLock(path, () => "mine")).toBe("mine")
  expect(withLock(path, () => "again", 0)).toBe("again")
})

test("a VM's lock has one holder at a time", () => {
  const path = join(directory.path, "lock")
  expect(takeLock(path)).toBeNumber()
  expect(takeLock(path)).toBeUndefined()
  symlinkSync("/etc/hostname", join(directory.path, "planted"))
  expect(() => takeLock(join(directory.path, "planted"))).toThrow("ELOOP")
})

test.each(["hello", "a", "a".repeat(63), "x-1", "trailing-dash-at-19-"])(
  "an id of %s is short, jailer-safe and new each time",
  (name) => {
    const [first, second] = [newVmId(name), newVmId(name)]
    expect(first).toMatch(/^[a-z0-9][a-z0-9-]{0,27}$/)
    expect(first).not.toBe(second)
  },
)

test("a name is a DNS label", () => {
  for (const good of ["a", "a-b", "0", "a".repeat(63)]) expect(good).toMatch(NAME_PATTERN)
  for (const bad of ["", "-a", "a-", "A", "a.b", "a/b", "a_b", "a\n", "a".repeat(64), "é"])
    expect(bad).not.toMatch(NAME_PATTERN)
})
