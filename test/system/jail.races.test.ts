import { expect, test } from "bun:test"
import { chmodSync, chownSync, mkdirSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { O, O_DIRECTORY, S } from "../../src/base/linux/constants.ts"
import { openAt, withDescriptor } from "../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../src/base/linux/guards.ts"
import { attachTree, cloneTree, MOUNT_ATTR } from "../../src/base/linux/mounts.ts"
import { listenUnix } from "../../src/base/linux/sockets.ts"
import { hostPath, inJail } from "../../src/base/terms/path.ts"
import { bindAt } from "../../src/host/jail/bind.ts"
import type { Jail } from "../../src/host/jail/makeJail.ts"
import { makeNode } from "../../src/host/jail/nodes.ts"
import { tearDown } from "../../src/host/jail/tearDown.ts"
import { setSocketAccess } from "../../src/host/sockets/access.ts"
import { removeTree } from "../../src/store/files/removeTree.ts"
import { makeExample, OWNER, stageExample } from "../fixtures/jail.ts"
import { attack, startWriter } from "./support/attack.ts"
import { expectNoJail, manifest } from "./support/canary.ts"
import { naiveBind, naiveNodeAccess, naiveRemove, naiveSocketAccess } from "./support/naive.ts"
import { eachInItsPlace, mountedIn } from "./support/place.ts"

const place = eachInItsPlace()
const SWAPS = 20_000
const pin = (path: string) => openAt(AT_FDCWD, path, O.PATH | O_DIRECTORY)

/** A directory of the attacker's, and a canary outside it that must not change. */
function arena(): { dir: string; canary: string; before: Readonly<Record<string, string>> } {
  const dir = join(place.dir, "arena")
  const canary = join(place.dir, "canary")
  mkdirSync(dir)
  mkdirSync(join(canary, "sub/deep"), { recursive: true })
  for (const name of ["file", "sub/file", "sub/deep/file"]) writeFileSync(join(canary, name), "kept", { mode: 0o600 })
  chmodSync(place.dir, 0o711)
  chownSync(dir, OWNER.uid, OWNER.gid)
  return { dir, canary, before: manifest(canary) }
}

/** A jail that is already in the attacker's hands: its root is the arena, mounted on itself. */
function arenaJail(dir: string): Jail {
  const plain = pin(dir)
  const fd = cloneTree(plain)
  attachTree(fd, plain)
  const close = () => withDescriptor(fd, () => withDescriptor(plain, () => {}))
  const path = hostPath(dir)
  const placed = (name: string) => inJail(path, name)
  return { path, now: path, placed, fd, plain, owner: OWNER, place: () => {}, close }
}

/** Goes on until the attacker must have had its swaps, and returns how many times `work` was done without an error. */
function hammer(rounds: number, work: () => void): number {
  let done = 0
  for (let round = 0; round < rounds; round++) {
    try {
      work()
      done++
    } catch {
      // A refusal: what the attacker put there was seen.
    }
  }
  return done
}

test("the owner of a socket: by path a file outside is given away, by descriptor none ever", async () => {
  const { dir, canary, before } = arena()
  const socket = join(dir, "x.sock")
  const listener = listenUnix(socket, 1)
  const victim = join(canary, "file")
  const attacker = await attack(OWNER.uid, victim, dir, ["x.sock"])
  const done = withDescriptor(pin(dir), (fd) =>
    hammer(200_000, () => setSocketAccess(fd, "x.sock", { ...OWNER, mode: 0o660 })),
  )
  expect(manifest(canary)).toEqual(before)
  let hits = 0
  for (let round = 0; round < 200_000 && hits === 0; round++) {
    hammer(1, () => naiveSocketAccess(socket, OWNER.uid, OWNER.gid, 0o666))
    if (statSync(victim).uid === OWNER.uid) hits++
  }
  const { swaps } = await attacker.stop()
  withDescriptor(listener, () => {})
  expect(hits, "the attacker must catch the naive way").toBe(1)
  expect(swaps[0]).toBeGreaterThan(SWAPS)
  expect(done).toBeGreaterThan(1000)
})

test("what is removed: by path files outside are deleted, by descriptor none ever", async () => {
  const { dir, canary, before } = arena()
  const grow = (top: string) => {
    // Made where the attacker cannot reach it, and moved: this is root's hand too.
    const made = `rm -rf '${top}' '${dir}'/*.evil; mkdir -p new/sub/deep && touch new/sub/deep/file`
    const moved = `chown -hR ${OWNER.uid} new && mv -T new '${top}'`
    Bun.spawnSync(["sh", "-c", `cd '${place.dir}' && ${made} && ${moved}`])
  }
  const tree = join(dir, "tree")
  grow(tree)
  const attacker = await attack(OWNER.uid, canary, dir, ["tree/sub", "tree/sub/deep"])
  let rounds = 0
  const ours = () =>
    withDescriptor(pin(dir), (fd) => {
      removeTree(fd, "tree")
    })
  for (; rounds < 150; rounds++) {
    hammer(1, ours)
    grow(tree)
  }
  // Trees that are not removed meanwhile give the attacker its swaps.
  await Bun.sleep(300)
  expect(manifest(canary)).toEqual(before)
  let hits = 0
  for (let round = 0; round < 3000 && hits === 0; round++) {
    grow(tree)
    hammer(1, () => naiveRemove(tree))
    if (JSON.stringify(manifest(canary)) !== JSON.stringify(before)) hits++
  }
  const { swaps } = await attacker.stop()
  expect(hits, "the attacker must catch the naive way").toBe(1)
  expect(swaps[0]).toBeGreaterThan(SWAPS)
})

test("a device node's owner: by path a file outside is given away, by descriptor none ever", async () => {
  const { dir, canary, before } = arena()
  const victim = join(canary, "file")
  const attacker = await attack(OWNER.uid, victim, dir, ["node"])
  const jail = arenaJail(dir)
  const clear = () => Bun.spawnSync(["rm", "-f", join(dir, "node"), join(dir, "node.evil")])
  for (let round = 0; round < 200; round++) {
    clear()
    hammer(100, () => makeNode(jail, "node", { type: S.IFCHR, rdev: "1:3" }))
  }
  expect(manifest(canary)).toEqual(before)
  let hits = 0
  for (let round = 0; round < 2000 && hits === 0; round++) {
    clear()
    Bun.spawnSync(["mknod", join(dir, "node"), "c", "1", "3"])
    hammer(2000, () => naiveNodeAccess(join(dir, "node"), OWNER.uid, OWNER.gid))
    if (statSync(victim).uid === OWNER.uid) hits++
  }
  const { swaps } = await attacker.stop()
  jail.close()
  Bun.spawnSync(["umount", dir])
  expect(hits, "the attacker must catch the naive way").toBe(1)
  expect(swaps[0]).toBeGreaterThan(SWAPS)
})

test("a bind mount: by path it lands outside, by descriptor never", async () => {
  const { dir, canary } = arena()
  const source = join(place.dir, "source")
  mkdirSync(source)
  mkdirSync(join(dir, "point"))
  chownSync(join(dir, "point"), OWNER.uid, OWNER.gid)
  const attacker = await attack(OWNER.uid, canary, dir, ["point"])
  const elsewhere = () => mountedIn(place).filter((point) => !point.startsWith(`${dir}/`))
  const clear = () => {
    for (const point of mountedIn(place).toReversed()) Bun.spawnSync(["umount", "--lazy", "--no-canonicalize", point])
  }
  let done = 0
  withDescriptor(pin(source), (from) =>
    withDescriptor(pin(dir), (fd) => {
      for (let round = 0; round < 3000; round++) {
        const bound = hammer(1, () => bindAt(from, { dir: fd, name: "point" }, MOUNT_ATTR.RDONLY))
        done += bound
        if (mountedIn(place).length === 0) continue
        expect(elsewhere()).toEqual([])
        clear()
      }
    }),
  )
  let hits = 0
  for (let round = 0; round < 3000 && hits === 0; round++) {
    hammer(1, () => naiveBind(source, join(dir, "point")))
    hits += elsewhere().length
    clear()
  }
  const { swaps } = await attacker.stop()
  clear()
  expect(hits, "the attacker must catch the naive way").toBeGreaterThan(0)
  expect(swaps[0]).toBeGreaterThan(SWAPS)
  expect(done).toBeGreaterThan(10)
})

test("a jail is staged and torn down while its uid swaps every name in it: nothing outside changes", async () => {
  const { canary, before } = arena()
  const example = makeExample(place.dir)
  const sources = manifest(place.dir)
  const root = join(example.site.base, example.site.vmm, example.site.id, "root")
  const names = ["drive", "kernel", "rootfs", "dev", "dev/notes", "dev/disk", "usr", "lib", "vmm", "firecracker.pid"]
  const attacker = await attack(OWNER.uid, canary, root, names)
  const outer = await attack(OWNER.uid, canary, example.site.base, [
    ".trash",
    "qemu",
    "qemu/vm-1",
    "qemu/vm-1/root",
    ".stage-vm-1",
  ])
  let inode: string | null = null
  let torn = 0
  for (let round = 0; round < 100; round++) {
    await stageExample(example, (made) => {
      inode = made
    })
    // The attacker is given a moment with what is placed; it also goes on while it is torn down.
    await Bun.sleep(2)
    torn += hammer(1, () => tearDown(example.site, inode))
    for (let again = 0; again < 100 && mountedIn(place).length > 0; again++)
      hammer(1, () => tearDown(example.site, inode))
  }
  const inside = await attacker.stop()
  const outside = await outer.stop()
  tearDown(example.site, inode)
  expectNoJail(example.site, "after the attack")
  expect(manifest(canary)).toEqual(before)
  expect(manifest(place.dir)).toEqual(sources)
  expect(inside.swaps[names.indexOf("drive")]).toBeGreaterThan(SWAPS)
  expect(inside.swaps[names.indexOf("usr")]).toBeGreaterThan(SWAPS)
  // What is root's alone cannot be swapped at all.
  expect(outside.swaps).toEqual([0, 0, 0, 0, 0])
  expect(Math.min(...outside.tries)).toBeGreaterThan(SWAPS)
  expect(torn).toBeGreaterThan(20)
})

test("a read-only bind: in two steps it can be written in between, attached read-only never", async () => {
  const { dir } = arena()
  const source = join(place.dir, "source")
  mkdirSync(source)
  mkdirSync(join(dir, "point"))
  writeFileSync(join(source, "file"), "")
  chownSync(join(source, "file"), OWNER.uid, OWNER.gid)
  const path = join(dir, "point")
  const openedDuring = async (rounds: number, bind: () => void) => {
    const writer = await startWriter(OWNER.uid, join(path, "file"))
    for (let round = 0; round < rounds; round++) {
      bind()
      Bun.spawnSync(["umount", "--lazy", path])
    }
    return writer.stop()
  }
  const [from, to] = [pin(source), pin(dir)]
  const ours = await openedDuring(300, () => bindAt(from, { dir: to, name: "point" }, MOUNT_ATTR.RDONLY))
  for (const fd of [from, to]) withDescriptor(fd, () => {})
  const naive = await openedDuring(50, () => {
    Bun.spawnSync(["mount", "--bind", source, path])
    Bun.spawnSync(["mount", "-o", "remount,bind,ro", path])
  })
  expect({ opened: ours.opened, refused: ours.refused > 100 }).toEqual({ opened: 0, refused: true })
  expect(naive.opened, "the writer must catch the naive way").toBeGreaterThan(0)
})
