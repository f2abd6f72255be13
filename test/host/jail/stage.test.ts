import { afterEach, beforeEach, expect, test } from "bun:test"
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { hostPath } from "../../../src/base/terms/path.ts"
import {
  closeStage,
  makeStage,
  type StageRoot,
  stageCopy,
  stageLink,
  stageWrite,
} from "../../../src/host/jail/stage.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const bytes = new TextEncoder().encode("content")
const never = new AbortController().signal
let root: StageRoot

beforeEach(() => {
  root = makeStage(hostPath(join(directory.path, "stage")))
})
afterEach(() => closeStage(root))

test("a file is staged under its name, private, in directories made for it", () => {
  stageWrite(root, "a/b/c.txt", bytes)
  expect(readFileSync(join(root.path, "a/b/c.txt"), "utf8")).toBe("content")
  expect(statSync(join(root.path, "a/b/c.txt")).mode & 0o777).toBe(0o600)
  expect(statSync(join(root.path, "a/b")).mode & 0o777).toBe(0o700)
  stageWrite(root, "a/b/d.txt", bytes)
})

test.each(["../x", "/x", "a/../x", "a//x", "./x", "", "a/", "..", ".", "x\0y", "é".repeat(128)])(
  "the name %p is not staged",
  (name) => {
    expect(() => stageWrite(root, name, bytes)).toThrow("cannot be staged")
    expect(existsSync(join(directory.path, "x"))).toBe(false)
  },
)

test("nothing is staged through a symlink, or over what is there", () => {
  mkdirSync(join(directory.path, "outside"))
  symlinkSync("../outside", join(root.path, "link"))
  symlinkSync("/etc/hostname", join(root.path, "file"))
  writeFileSync(join(root.path, "kernel"), "kernel")
  expect(() => stageWrite(root, "link/x", bytes)).toThrow(
    "leads through something that is not a directory of the stage",
  )
  expect(() => stageWrite(root, "file", bytes)).toThrow("is staged already")
  expect(() => stageWrite(root, "kernel", bytes)).toThrow("kernel is staged already")
  expect(() => stageWrite(root, "kernel/x", bytes)).toThrow("leads through")
  expect(existsSync(join(directory.path, "outside/x"))).toBe(false)
  expect(readFileSync(join(root.path, "kernel"), "utf8")).toBe("kernel")
})

test("the stage is the directory it was made as, whatever has its name later", () => {
  Bun.spawnSync(["sh", "-c", `mv ${root.path} ${root.path}.moved && mkdir ${root.path}`])
  stageWrite(root, "x", bytes)
  expect(existsSync(join(root.path, "x"))).toBe(false)
  expect(existsSync(`${root.path}.moved/x`)).toBe(true)
})

test("a copy has the content and the holes, and leaves its source as it was", async () => {
  const source = join(directory.path, "disk.img")
  writeFileSync(source, "begin")
  truncateSync(source, 256 * 1024 * 1024)
  const fd = openSync(source, "r+")
  writeSync(fd, "middle", 100_000_000)
  closeSync(fd)
  await stageCopy(root, "disk.img", source, { signal: never })
  const copy = join(root.path, "disk.img")
  expect(statSync(copy).size).toBe(statSync(source).size)
  expect(statSync(copy).blocks).toBeLessThan(1000)
  expect(Bun.spawnSync(["cmp", source, copy]).exitCode).toBe(0)
  expect(statSync(source)).toMatchObject({ nlink: 1, mode: 0o100644 })
})

test("a copy ends when its hook's time is up", async () => {
  const source = join(directory.path, "disk.img")
  writeFileSync(source, new Uint8Array(1024 * 1024))
  expect(stageCopy(root, "x", source, { signal: AbortSignal.abort(new Error("too late")) })).rejects.toThrow("too late")
})

test("a link is the very file; only a regular file is copied or linked", async () => {
  const source = join(directory.path, "file")
  writeFileSync(source, "x")
  stageLink(root, "linked", source)
  expect(statSync(join(root.path, "linked")).ino).toBe(statSync(source).ino)
  expect(() => stageLink(root, "device", "/dev/null")).toThrow("is not a regular file")
  expect(stageCopy(root, "dir", directory.path, { signal: never })).rejects.toThrow("is not a regular file")
  expect(() => stageLink(root, "other", "/proc/self/status")).toThrow()
  linkSync(source, join(directory.path, "second"))
})
