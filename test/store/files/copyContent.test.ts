import { expect, test } from "bun:test"
import { closeSync, openSync, readFileSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs"
import { join } from "node:path"
import { type CopyOptions, copyContent } from "../../../src/store/files/copyContent.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const MIB_BYTES = 1024 * 1024
const { signal } = new AbortController()

async function copied(source: string, options: Omit<CopyOptions, "signal">): Promise<string> {
  const target = join(directory.path, "target")
  const [from, to] = [openSync(source, "r"), openSync(target, "wx")]
  await copyContent(from, to, { signal, ...options })
  for (const fd of [from, to]) closeSync(fd)
  return target
}
const blocksOf = (path: string) => statSync(path).blocks

test("what is zero becomes holes, and the content is the same", async () => {
  const source = join(directory.path, "source")
  const content = Buffer.alloc(5 * MIB_BYTES + 1234)
  // At an end of a read, across two blocks, alone in a block, and in the last and shorter one.
  for (const at of [0, MIB_BYTES - 1, MIB_BYTES, 2 * MIB_BYTES + 4095, 2 * MIB_BYTES + 4096, 3 * MIB_BYTES + 9000])
    content[at] = 1
  content[content.length - 1] = 7
  writeFileSync(source, content)
  const target = await copied(source, { zeros: "holes" })
  expect(readFileSync(target).equals(content)).toBe(true)
  expect(blocksOf(source)).toBeGreaterThanOrEqual(content.length / 512)
  expect(blocksOf(target)).toBeLessThan(200)
})

test("holes of the source stay, and a file of nothing but zeros has no blocks", async () => {
  const source = join(directory.path, "source")
  writeFileSync(source, Buffer.alloc(MIB_BYTES))
  truncateSync(source, 64 * MIB_BYTES)
  const target = await copied(source, { zeros: "holes" })
  expect(statSync(target)).toMatchObject({ size: 64 * MIB_BYTES, blocks: 0 })
})

test("random content is the same, whichever way it is copied", async () => {
  const source = join(directory.path, "source")
  const fd = openSync(source, "w")
  const part = new Uint8Array(60_000)
  for (let at = 0; at < 40; at++) writeSync(fd, crypto.getRandomValues(part), 0, part.length, at * 150_001)
  closeSync(fd)
  const target = await copied(source, { zeros: "holes" })
  expect(readFileSync(target).equals(readFileSync(source))).toBe(true)
  // What a hole is to one file system may be a few blocks to another.
  expect(blocksOf(target)).toBeLessThanOrEqual(blocksOf(source) + 40 * 8)
})

test("an aborted copy ends with the signal's reason", async () => {
  const source = join(directory.path, "source")
  writeFileSync(source, Buffer.alloc(MIB_BYTES, 1))
  const fds = [openSync(source, "r"), openSync(join(directory.path, "target"), "wx")] as const
  const aborted = AbortSignal.abort(new Error("enough"))
  await expect(copyContent(...fds, { signal: aborted, zeros: "holes" })).rejects.toThrow("enough")
  for (const fd of fds) closeSync(fd)
})
