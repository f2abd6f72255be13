import { expect, test } from "bun:test"
import { statSync } from "node:fs"
import { join } from "node:path"
import { close, statPath } from "../../../src/base/linux/files.ts"
import { type ListedSocket, listedSockets, unpackReplies } from "../../../src/base/linux/socketDiag.ts"
import { listenUnix } from "../../../src/base/linux/sockets.ts"
import { callWitness } from "../../../src/host/sockets/witness.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

test("the kernel's list has a listener by its inode and device, and no longer when it is closed", () => {
  const path = join(directory.path, "x.sock")
  const fd = listenUnix(path, 1)
  const { ino, dev } = statPath(path)
  const own = listedSockets().filter(({ inode }) => inode === Number(ino & 0xffff_ffffn))
  expect(own).toEqual([{ inode: statSync(path).ino, dev, accepted: false }])
  expect(callWitness(false)({ ino, dev })).toBe(true)
  expect(callWitness(true)({ ino, dev: "other" })).toBe(true)
  expect(callWitness(false)({ ino, dev: "other" })).toBe(false)
  close(fd)
  expect(callWitness(false)({ ino, dev })).toBe(false)
})

test("an accepted connection does not speak for its listener's name", async () => {
  const path = join(directory.path, "x.sock")
  const server = Bun.listen({ unix: path, socket: { data() {} } })
  const client = await Bun.connect({ unix: path, socket: { data() {} } })
  const { ino, dev } = statPath(path)
  const listed = () => listedSockets().filter(({ inode }) => inode === Number(ino & 0xffff_ffffn))
  while (listed().length < 2) await Bun.sleep(1)
  expect(listed().map(({ accepted }) => accepted)).toContain(true)
  expect(callWitness(false)({ ino, dev })).toBe(true)
  server.stop(true)
  client.end()
})

test("replies that are cut short or malformed are not read past their end", () => {
  const found: ListedSocket[] = []
  expect(unpackReplies(new Uint8Array(8), found)).toBe(true)
  expect(unpackReplies(new Uint8Array(16), found)).toBe(false)
  const cut = new Uint8Array(20)
  new DataView(cut.buffer).setUint32(0, 64, true)
  expect(unpackReplies(cut, found)).toBe(true)
  expect(found).toEqual([])
})
