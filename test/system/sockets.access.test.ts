import { expect, test } from "bun:test"
import { chmodSync, chownSync, mkdirSync, renameSync, statSync, unlinkSync } from "node:fs"
import { join } from "node:path"
import { close } from "../../src/base/linux/files.ts"
import { listenUnix } from "../../src/base/linux/sockets.ts"
import { awaitSocket } from "../../src/host/sockets/awaitSocket.ts"
import { startConnector } from "./support/attack.ts"
import { eachInItsPlace } from "./support/place.ts"

const place = eachInItsPlace()
const OTHER = 1_900_000_099
const OWN = { uid: 1_900_000_098, gid: 1_900_000_098 }

/** A VMM's directory that everybody may traverse, so that the socket's own mode is all that keeps others out. */
function open(): { dir: string; path: string } {
  const dir = join(place.dir, "vmm")
  mkdirSync(dir)
  chmodSync(place.dir, 0o711)
  chmodSync(dir, 0o711)
  chownSync(dir, OWN.uid, OWN.gid)
  return { dir, path: join(dir, "api.sock") }
}

/** What a VMM does: binds under the umask it was started with, and belongs to the jail's uid. */
function bind(path: string, umask: number): number {
  const before = process.umask(umask)
  try {
    return listenUnix(path, 16)
  } finally {
    process.umask(before)
  }
}

test("another user who tries from the first moment never gets in; under the usual umask they do", async () => {
  const { path } = open()
  const racer = await startConnector(OTHER, path)
  for (let round = 0; round < 300; round++) {
    const waiting = awaitSocket(path, { ...OWN, mode: 0o600 }, new AbortController().signal)
    const listener = bind(path, 0o077)
    const fd = await waiting
    expect(statSync(path)).toMatchObject({ uid: OWN.uid, gid: OWN.gid })
    expect(statSync(path).mode & 0o777).toBe(0o600)
    close(fd)
    close(listener)
    unlinkSync(path)
  }
  const ours = await racer.stop()
  expect(ours.connected).toBe(0)
  expect(ours.refused).toBeGreaterThan(100)

  // On a busy machine the racer may not get its turn in the first rounds.
  let caught = 0
  for (let tries = 0; caught === 0 && tries < 20; tries++) {
    const naive = await startConnector(OTHER, path)
    for (let round = 0; round < 300; round++) {
      // Made open, and closed afterwards.
      const listener = bind(path, 0)
      chmodSync(path, 0o600)
      close(listener)
      unlinkSync(path)
    }
    caught = (await naive.stop()).connected
  }
  expect(caught, "the racer must catch the naive way").toBeGreaterThan(0)
})

test("a socket that its directory's owner swaps later is not the one that is used", async () => {
  const { path } = open()
  const listener = bind(path, 0o077)
  const fd = await awaitSocket(path, { ...OWN, mode: 0o600 }, new AbortController().signal)
  const inode = statSync(path).ino
  renameSync(path, `${path}.old`)
  const impostor = bind(path, 0o077)
  expect(statSync(`/proc/self/fd/${fd}`).ino).toBe(inode)
  expect(statSync(path).ino).not.toBe(inode)
  for (const each of [fd, listener, impostor]) close(each)
})

test.each(["a symlink", "a file", "a directory"])(
  "%s in the socket's place is refused, and what it leads to unchanged",
  async (what) => {
    const { path } = open()
    const victim = join(place.dir, "victim")
    await Bun.write(victim, "kept")
    const before = statSync(victim)
    if (what === "a symlink") Bun.spawnSync(["ln", "-s", victim, path])
    else if (what === "a file") await Bun.write(path, "x")
    else mkdirSync(path)
    const waiting = awaitSocket(path, { ...OWN, mode: 0o600 }, new AbortController().signal)
    await expect(waiting).rejects.toThrow(/is not a socket|ELOOP/)
    expect(statSync(victim)).toMatchObject({ uid: before.uid, mode: before.mode })
  },
)

test("waiting ends when it is told to", async () => {
  const { path } = open()
  const cut = new AbortController()
  const waiting = awaitSocket(path, { ...OWN, mode: 0o600 }, cut.signal)
  cut.abort(new Error("too late"))
  await expect(waiting).rejects.toThrow("too late")
})
