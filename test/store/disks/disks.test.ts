import { expect, test } from "bun:test"
import {
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { copyImage, openImage, padDisk, writeStream } from "../../../src/store/disks/content.ts"
import {
  findDisks,
  listDisks,
  lookAtDisk,
  openDisk,
  openDisks,
  openPresentDisk,
} from "../../../src/store/disks/disks.ts"
import { withDisk } from "../../../src/store/disks/lockDisk.ts"
import { makeFile } from "../../../src/store/disks/makeFile.ts"
import { readyDisk, requireDisk, takeBackDisk } from "../../../src/store/disks/readyDisk.ts"
import { failure } from "../../failure.ts"
import { eachInItsDirectory } from "../../temporary.ts"
import { CLUSTER_BYTES, qcow2Of } from "./qcow2Image.ts"

const directory = eachInItsDirectory()
const MIB_BYTES = 1024 * 1024
const { signal } = new AbortController()
const at = () => join(directory.path, "disks")
const file = (name: string) => join(at(), `${name}.raw`)
const wanted = (more: object = {}) => ({
  ...{ name: "data", setting: "drives[0]", sizeBytes: undefined, image: undefined },
  ...more,
})
const ready = async (more: object) => closeSync(await readyDisk(at(), wanted(more), { signal }))

test("the directory is this user's alone, made on first use; looking makes nothing", () => {
  expect(findDisks(at())).toBeUndefined()
  expect(findDisks(join(directory.path, "nowhere", "disks"))).toBeUndefined()
  openDisks(at())[Symbol.dispose]()
  expect(statSync(at()).mode & 0o7777).toBe(0o700)
  chmodSync(at(), 0o755)
  openDisks(at())[Symbol.dispose]()
  expect(statSync(at()).mode & 0o7777).toBe(0o700)
})

test.each(["a symlink", "a file"])("%s in the directory's place is refused, and nothing is made there", (what) => {
  const other = join(directory.path, "other")
  mkdirSync(other)
  if (what === "a file") writeFileSync(at(), "")
  else symlinkSync(other, at())
  expect(() => openDisks(at())).toThrow(failure("UNTRUSTED", `${at()} is not a directory`))
  expect(() => findDisks(at())).toThrow(failure("UNTRUSTED", "is not a directory"))
  expect(readdirSync(other)).toEqual([])
})

test("what is planted in a disk's place is neither opened nor followed, and said by name", async () => {
  using disks = openDisks(at())
  const secret = join(directory.path, "secret")
  writeFileSync(secret, "secret")
  symlinkSync(secret, file("link"))
  Bun.spawnSync(["mkfifo", file("fifo")])
  mkdirSync(file("directory"))
  writeFileSync(file("two"), "x")
  linkSync(file("two"), join(directory.path, "second"))
  writeFileSync(file("good"), "x".repeat(512))
  writeFileSync(join(at(), "Bad_Name.raw"), "")
  const told = {
    link: "is a symlink",
    fifo: "is not a regular file",
    directory: "is not a regular",
    two: "has 2 names",
  }
  for (const [name, why] of Object.entries(told)) {
    expect(() => openDisk(disks, name)).toThrow(failure("BAD_FILE", `${file(name)} ${why}`))
    expect(() => requireDisk(at(), wanted({ name, sizeBytes: MIB_BYTES }))).toThrow(failure("BAD_FILE", why))
    await expect(ready({ name, sizeBytes: MIB_BYTES })).rejects.toThrow(failure("BAD_FILE", why))
    expect(() => takeBackDisk(at(), name)).toThrow(failure("BAD_FILE", why))
  }
  expect(readFileSync(secret, "utf8")).toBe("secret")
  const { disks: found, strange } = listDisks(disks)
  expect(found).toMatchObject([{ name: "good", path: file("good"), sizeBytes: 512 }])
  expect(strange).toHaveLength(4)
})

test.each(["..", "../secret", "a/b", "", ".", "ünicode", "a".repeat(64), "UP", "-a", "a\0b", "a\n"])(
  "%p is no disk's name, wherever it comes from",
  (name) => {
    using disks = openDisks(at())
    expect(() => openDisk(disks, name)).toThrow("is no disk's name")
  },
)

test("a disk that is not there is told with the nearest one", async () => {
  await ready({ name: "web-data", sizeBytes: MIB_BYTES })
  using disks = openDisks(at())
  expect(lookAtDisk(disks, "web-date")).toBeUndefined()
  expect(() => openPresentDisk(disks, "web-date")).toThrow(
    failure("BAD_FILE", 'no disk "web-date"; did you mean web-data?'),
  )
})

test("a disk is made with its size and without blocks, stays, grows, and is never made smaller", async () => {
  await ready({ sizeBytes: 4 * MIB_BYTES })
  expect(statSync(file("data"))).toMatchObject({ size: 4 * MIB_BYTES, blocks: 0, nlink: 1 })
  expect(statSync(file("data")).mode & 0o7777).toBe(0o600)
  writeFileSync(file("data"), "kept", { flag: "r+" })
  await ready({})
  await ready({ sizeBytes: 8 * MIB_BYTES })
  expect(statSync(file("data")).size).toBe(8 * MIB_BYTES)
  expect(readFileSync(file("data")).subarray(0, 4).toString()).toBe("kept")
  await expect(ready({ sizeBytes: MIB_BYTES })).rejects.toThrow(failure("BAD_PLUGIN", "never shrinks"))
  expect(statSync(file("data")).size).toBe(8 * MIB_BYTES)
  expect(readdirSync(at())).toEqual(["data.raw"])
})

test("a disk is made of an image once, grown to its size; the image need not be there later", async () => {
  const path = join(directory.path, "image")
  const image = { path }
  writeFileSync(path, "x".repeat(700))
  expect(requireDisk(at(), wanted({ image })).growsBytes).toBe(1024)
  await ready({ image, sizeBytes: MIB_BYTES })
  expect(readFileSync(file("data")).toString("latin1")).toBe("x".repeat(700).padEnd(MIB_BYTES, "\0"))
  const gone = { path: join(directory.path, "gone") }
  await ready({ image: gone })
  requireDisk(at(), wanted({ image: gone }))
  expect(statSync(path)).toMatchObject({ size: 700, nlink: 1 })
})

test("an image that is none is refused, and leaves nothing", async () => {
  const path = join(directory.path, "image")
  const image = { path, setting: "drives[0].path" }
  writeFileSync(path, "QFI\xfb and more", "latin1")
  await expect(ready({ image })).rejects.toThrow(failure("BAD_FILE", "begins as a qcow2 file"))
  await expect(ready({ image: { ...image, format: "qcow2" } })).rejects.toThrow(
    failure("BAD_FILE", "is no qcow2 image"),
  )
  writeFileSync(path, "")
  await expect(ready({ image })).rejects.toThrow(failure("BAD_FILE", `${path} is empty`))
  await expect(ready({ image: { path: directory.path } })).rejects.toThrow("is not a regular file")
  expect(readdirSync(at())).toEqual([])
})

test("a disk is made of a qcow2 image by name, and has its size", async () => {
  const path = join(directory.path, "image.qcow2")
  writeFileSync(path, qcow2Of([{ data: "a" }, "none", { packed: "b" }, "zero"]))
  await ready({ image: { path, format: "qcow2" }, sizeBytes: MIB_BYTES })
  const content = readFileSync(file("data"))
  expect(content).toHaveLength(MIB_BYTES)
  const cluster = (letter: string) => Buffer.alloc(CLUSTER_BYTES, letter)
  const disk = Buffer.concat([cluster("a"), cluster("\0"), cluster("b")])
  expect(content.subarray(0, disk.length).equals(disk)).toBe(true)
  expect(content.subarray(disk.length).every((byte) => byte === 0)).toBe(true)
})

test("a process at work on a disk keeps others from it, and says what it does; its lock goes with it", async () => {
  using disks = openDisks(at())
  await withDisk(disks, { name: "data", what: "an export" }, async () => {
    await expect(ready({ sizeBytes: MIB_BYTES })).rejects.toThrow(
      failure("BUSY", `the disk data is being used: an export by process ${process.pid}`),
    )
    // Another disk is not concerned.
    await ready({ name: "other", sizeBytes: MIB_BYTES })
  })
  await expect(withDisk(disks, { name: "data", what: "x" }, () => Promise.reject(new Error("no")))).rejects.toThrow(
    "no",
  )
  expect(readdirSync(at())).toEqual(["other.raw"])
})

test("a file has its name once it is whole: not while it is filled, not when that fails, and never another's name", async () => {
  using disks = openDisks(at())
  const target = { dir: disks.fd, name: "data.raw", path: at() }
  const filling = makeFile(target, async (fd) => {
    expect(readdirSync(at())).toEqual([])
    padDisk(fd, 512)
    throw new Error("cut")
  })
  await expect(filling).rejects.toThrow("cut")
  expect(readdirSync(at())).toEqual([])
  await makeFile(target, async (fd) => padDisk(fd, 512))
  await expect(makeFile(target, async (fd) => padDisk(fd, 1024))).rejects.toThrow(
    failure("BAD_FILE", "is there already"),
  )
  expect(statSync(file("data")).size).toBe(512)
  writeFileSync(join(at(), `.data.raw.${process.pid}.tmp`), "of a crash")
  await makeFile({ ...target, replace: true }, async (fd) => padDisk(fd, 1024))
  expect(statSync(file("data")).size).toBe(1024)
  expect(readdirSync(at())).toEqual(["data.raw"])
})

test("holes stay holes in a copy, and what is zero in a stream becomes one", async () => {
  const image = join(directory.path, "image")
  writeFileSync(image, "start")
  truncateSync(image, 32 * MIB_BYTES)
  using disks = openDisks(at())
  using source = openImage({ path: image })
  await makeFile({ dir: disks.fd, name: "copy.raw", path: at() }, (fd) => copyImage(source, fd, { signal }))
  expect(readFileSync(file("copy")).equals(readFileSync(image))).toBe(true)
  expect(statSync(file("copy")).blocks * 512).toBeLessThan(MIB_BYTES)
  async function* pieces() {
    const all = readFileSync(image)
    for (let from = 0; from < all.length; from += 100_003) yield all.subarray(from, from + 100_003)
  }
  await makeFile({ dir: disks.fd, name: "stream.raw", path: at() }, async (fd) => {
    expect(await writeStream(fd, pieces())).toBe(32 * MIB_BYTES)
  })
  expect(readFileSync(file("stream")).equals(readFileSync(image))).toBe(true)
  expect(statSync(file("stream")).blocks * 512).toBeLessThan(MIB_BYTES)
})
