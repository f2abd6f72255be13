import { expect, test } from "bun:test"
import { closeSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { convertQcow2 } from "../../../src/store/disks/convert.ts"
import { clusterOf, parseQcow2 } from "../../../src/store/disks/qcow2.ts"
import { zstdFrameBytes } from "../../../src/store/disks/zstdFrame.ts"
import { eachInItsDirectory } from "../../temporary.ts"
import { type Changes, CLUSTER_BYTES, qcow2Of } from "./qcow2Image.ts"

const directory = eachInItsDirectory()
const letters = (text: string) => Buffer.concat([...text].map((letter) => Buffer.alloc(CLUSTER_BYTES, letter)))

/** The disk that an image is of, as it is converted. */
async function converted(image: Uint8Array): Promise<Buffer> {
  const [path, to] = [join(directory.path, "image"), join(directory.path, "disk")]
  writeFileSync(path, image)
  const [fd, target] = [openSync(path, "r"), openSync(to, "w")]
  try {
    await convertQcow2({ fd, path }, target, { signal: new AbortController().signal })
  } finally {
    closeSync(fd)
    closeSync(target)
  }
  return readFileSync(to)
}

const MIXED = [{ data: "a" }, "none", { packed: "b" }, "zero", { data: "c" }, { packed: "d" }, "none"] as const

test("each kind of cluster is what a guest would see, in both versions and by both compressions", async () => {
  const disk = letters("a\0b\0cd\0")
  for (const changes of [{}, { zstd: true }] satisfies Changes[])
    expect((await converted(qcow2Of(MIXED, changes))).equals(disk), JSON.stringify(changes)).toBe(true)
  // In version 2 no cluster is said to be zero.
  const old = MIXED.filter((made) => made !== "zero")
  expect((await converted(qcow2Of(old, { version: 2 }))).equals(letters("a\0bcd\0"))).toBe(true)
})

test("what is not there, or zero, is a hole; a disk that ends within a cluster ends there", async () => {
  const clusters = [{ data: "a" }, ...Array.from({ length: 500 }, () => "none" as const), { data: "\0" }, { data: "z" }]
  const bytes = 502 * CLUSTER_BYTES + 512
  const disk = await converted(qcow2Of(clusters, { bytes }))
  expect(disk).toHaveLength(bytes)
  expect(disk.subarray(-512).equals(Buffer.alloc(512, "z"))).toBe(true)
  expect(statSync(join(directory.path, "disk")).blocks * 512).toBeLessThan(16 * 1024)
})

test("a cluster behind the file's end reads as zeros, as QEMU reads it", async () => {
  const far = BigInt(1024 * CLUSTER_BYTES)
  expect((await converted(qcow2Of([{ data: "a" }, "none"], { l2: { 1: far } }))).equals(letters("a\0"))).toBe(true)
})

test("an offset that no file has is damage, of whatever kind the cluster is", async () => {
  const far = [0x00ff_ffff_ffff_fe00n, 1n << 53n, (1n << 62n) | ((1n << 58n) - 1n), (1n << 62n) | (1n << 54n)]
  for (const entry of far)
    await expect(converted(qcow2Of([{ data: "a" }], { l2: { 0: entry } }))).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining("an offset that no file has"),
    })
})

const BAD: readonly (readonly [string, Changes, string])[] = [
  ["a backing file", { u64: { 8: 512n }, u32: { 16: 11 } }, "has a backing file, and what that leads to is not taken"],
  ["a backing file, in version 2", { version: 2, u64: { 8: 512n } }, "has a backing file"],
  ["a data file", { u64: { 72: 4n } }, "has its data in another file"],
  ["encryption", { u32: { 32: 2 } }, "is encrypted"],
  ["corruption", { u64: { 72: 2n } }, "is marked as corrupt"],
  ["unknown features", { u64: { 72: 1n << 40n } }, "needs features of qcow2 that banger does not know"],
  ["an unknown compression", { zstd: true, u32: { 104: 0x0700_0000 } }, "is compressed in a way"],
  ["another version", { u32: { 4: 4 } }, "of version 4"],
  ["no magic", { u32: { 0: 7 } }, "is no qcow2 image"],
  ["tiny clusters", { u32: { 20: 3 } }, "has clusters of 2^3 bytes"],
  ["huge clusters", { u32: { 20: 4_000_000_000 } }, "has clusters of 2^4000000000 bytes"],
  ["no size", { bytes: 0 }, "of an empty disk"],
  ["more than 16T", { u64: { 24: 1n << 45n } }, "larger than 16T"],
  ["a size of nonsense", { u64: { 24: (1n << 64n) - 1n } }, "whose header makes no sense"],
  ["a short table", { u64: { 24: 1n << 32n } }, "whose tables make no sense"],
  ["a huge table", { u32: { 36: 0xffff_ffff } }, "whose tables make no sense"],
  ["a table that is nowhere", { u64: { 40: 0n } }, "whose tables make no sense"],
]

test.each(BAD)("an image with %s is refused", async (_, changes, words) => {
  await expect(converted(qcow2Of([{ data: "a" }], changes))).rejects.toMatchObject({
    code: "BAD_FILE",
    message: expect.stringContaining(words),
  })
})

test("a cluster that cannot be unpacked, or unpacks to more than one, is damage and not memory", async () => {
  for (const zstd of [false, true]) {
    const image = qcow2Of([{ packed: "a" }], { zstd })
    for (const spoil of [
      (bytes: Uint8Array) => bytes.fill(0xff, 3 * CLUSTER_BYTES),
      (bytes: Uint8Array) => bytes.subarray(0, 3 * CLUSTER_BYTES),
    ])
      await expect(converted(spoil(Uint8Array.from(image)))).rejects.toThrow("has a cluster that cannot be unpacked")
  }
  const bomb = Buffer.concat([
    Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58]),
    // Each block of four bytes is 2 MiB less one of one letter.
    ...Array.from({ length: 64 }, () => Buffer.from([0xfa, 0xff, 0xff, 0x61])),
    Buffer.from([0x01, 0x00, 0x00]),
  ])
  expect(zstdFrameBytes(bomb)).toBeUndefined()
  const [head, rest] = [qcow2Of([{ packed: "a" }], { zstd: true }).slice(0, 3 * CLUSTER_BYTES), bomb]
  await expect(converted(Buffer.concat([head, rest]))).rejects.toThrow("has a cluster that cannot be unpacked")
})

test("a frame of zstd ends where it does, whatever follows", () => {
  for (const text of ["", "a", "abc".repeat(100_000)]) {
    const frame = Bun.zstdCompressSync(Buffer.from(text))
    expect(zstdFrameBytes(Buffer.concat([frame, Buffer.alloc(700, 0x5a)]))).toBe(frame.length)
    expect(zstdFrameBytes(frame.subarray(0, -1))).toBeUndefined()
  }
  expect(zstdFrameBytes(Buffer.from("no frame at all"))).toBeUndefined()
  // One that says it has 2^40 bytes.
  const huge = Buffer.concat([
    Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0]),
    Buffer.from([1, 0, 0]),
  ])
  expect(zstdFrameBytes(huge)).toBeUndefined()
})

test("parts of a cluster that are said to be zero are, whatever else is said of them", () => {
  const image = { clusterBits: 16, parts: true, version: 3 }
  const entry = 0x50000n
  expect(clusterOf(image, entry, 0b111n)).toEqual({ is: "data", offset: 0x50000, present: 0b111 })
  expect(clusterOf(image, entry, (0b010n << 32n) | 0b111n)).toEqual({ is: "data", offset: 0x50000, present: 0b101 })
  expect(clusterOf(image, 0n, 0xffff_ffffn << 32n)).toEqual({ is: "zero" })
})

test("a header that is cut is none", () => {
  const whole = qcow2Of([{ data: "a" }]).subarray(0, 112)
  for (const length of [0, 3, 71, 103]) expect(() => parseQcow2(whole.slice(0, length), "f")).toThrow("qcow2 image")
})
