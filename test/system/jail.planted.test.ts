import { expect, test } from "bun:test"
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { O, O_DIRECTORY } from "../../src/base/linux/constants.ts"
import { openAt } from "../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../src/base/linux/guards.ts"
import { interpose } from "../../src/base/linux/interpose.ts"
import { listenUnix } from "../../src/base/linux/sockets.ts"
import { stageLibraries } from "../../src/host/jail/libraries.ts"
import { makeJail } from "../../src/host/jail/makeJail.ts"
import { stageWrite } from "../../src/host/jail/stage.ts"
import { stageFile } from "../../src/host/jail/stageFile.ts"
import { tearDown } from "../../src/host/jail/tearDown.ts"
import { removeTree } from "../../src/store/files/removeTree.ts"
import { librariesFrom, makeExample, OWNER, stageExample } from "../fixtures/jail.ts"
import { expectNoJail, manifest } from "./support/canary.ts"
import { mountImage } from "./support/mountImage.ts"
import { eachInItsPlace, mountedIn } from "./support/place.ts"

const place = eachInItsPlace()

/** An example jail's sources, and a canary directory outside. */
function prepare(dir: string = place.dir) {
  const example = makeExample(dir)
  const canary = join(dir, "canary")
  mkdirSync(join(canary, "root"), { recursive: true })
  writeFileSync(join(canary, "file"), "kept", { mode: 0o600 })
  writeFileSync(join(canary, "root/file"), "kept", { mode: 0o600 })
  return { ...example, canary, before: manifest(dir) }
}

const PLANTS: Readonly<Record<string, (path: string, canary: string) => void>> = {
  "a symlink to a directory": (path, canary) => symlinkSync(canary, path),
  "a symlink to a file": (path, canary) => symlinkSync(join(canary, "file"), path),
  "a dangling symlink": (path) => symlinkSync("nowhere", path),
  "a hard link": (path, canary) => linkSync(join(canary, "file"), path),
  "a file": (path) => writeFileSync(path, "x"),
  "a FIFO": (path) => void Bun.spawnSync(["mkfifo", path]),
  "a socket": (path) => closeSync(listenUnix(path, 1)),
}

const components = ["", ".grave", "qemu", "qemu/vm-1", ".stage-vm-1"]
const cases = components.flatMap((component) => Object.keys(PLANTS).map((plant) => [plant, component] as const))

test.each(cases)(
  "with %s planted as <base>/%s nothing is staged, and nothing outside changes",
  async (plant, component) => {
    const { site, canary, before, ...example } = prepare()
    const path = join(site.base, component)
    mkdirSync(join(path, ".."), { recursive: true, mode: 0o711 })
    PLANTS[plant]?.(path, canary)
    let inode: string | null = null
    const staged = stageExample({ site, ...example }, (root) => {
      inode = root
    })
    if (component !== ".grave") await expect(staged).rejects.toThrow()
    await staged.catch(() => {})
    // Its removal refuses too, or finds nothing of its own; what was planted is nobody's, and stays.
    try {
      tearDown(site, inode)
    } catch {
      rmSync(path)
      tearDown(site, inode)
    }
    rmSync(site.base, { recursive: true, force: true })
    expect(mountedIn(place)).toEqual([])
    expect(manifest(place.dir)).toEqual(before)
  },
)

test.each(["", "qemu", ".grave"])("a jail is not made where <base>/%s is another user's", async (component) => {
  const { site, before, ...example } = prepare()
  const path = join(site.base, component)
  mkdirSync(path, { recursive: true, mode: 0o711 })
  chownSync(path, OWNER.uid, OWNER.gid)
  let inode: string | null = null
  const staged = stageExample({ site, ...example }, (root) => {
    inode = root
  })
  if (component === ".grave") await staged
  else await expect(staged).rejects.toThrow(`belongs to uid ${OWNER.uid}`)
  if (component !== "qemu") expect(() => tearDown(site, inode)).toThrow(`belongs to uid ${OWNER.uid}`)
  chownSync(path, 0, 0)
  tearDown(site, inode)
  expectNoJail(site, "after")
  expect(manifest(place.dir)).toEqual(before)
})

test("a base of ours that was opened to others is closed again", async () => {
  const { site, before, ...example } = prepare()
  for (const path of [site.base, join(site.base, "qemu")]) {
    mkdirSync(path)
    chmodSync(path, 0o777)
  }
  let inode: string | null = null
  await stageExample({ site, ...example }, (root) => {
    inode = root
  })
  for (const path of ["", "qemu"]) expect(statSync(join(site.base, path)).mode & 0o7777).toBe(0o711)
  tearDown(site, inode)
  expectNoJail(site, "after")
  expect(manifest(place.dir)).toEqual(before)
})

test("a directory of the id is an id in use: nothing of it is touched", async () => {
  const { site, before, ...example } = prepare()
  mkdirSync(join(site.base, "qemu/vm-1/root"), { recursive: true })
  chmodSync(site.base, 0o711)
  writeFileSync(join(site.base, "qemu/vm-1/root/theirs"), "kept")
  let inode: string | null = null
  const staged = stageExample({ site, ...example }, (root) => {
    inode = root
  })
  await expect(staged).rejects.toThrow("the jail of vm-1 is there already")
  expect(() => tearDown(site, inode)).toThrow("another directory")
  expect(() => tearDown(site, null)).toThrow("was not made by this VM")
  expect(existsSync(join(site.base, "qemu/vm-1/root/theirs"))).toBe(true)
  rmSync(join(site.base, "qemu/vm-1"), { recursive: true })
  tearDown(site, inode)
  expectNoJail(site, "after")
  expect(manifest(place.dir)).toEqual(before)
})

test("a root that is another directory than the one on record is left alone, also when mounted over", async () => {
  const { site, canary, before, ...example } = prepare()
  let inode: string | null = null
  await stageExample({ site, ...example }, (root) => {
    inode = root
  })
  const root = join(site.base, "qemu/vm-1/root")
  Bun.spawnSync(["mount", "--bind", canary, root])
  expect(() => tearDown(site, inode)).toThrow("is another directory")
  expect(existsSync(join(canary, "root/file"))).toBe(true)
  Bun.spawnSync(["umount", root])
  tearDown(site, inode)
  expectNoJail(site, "after")
  expect(manifest(place.dir)).toEqual(before)
})

test("a mount that remains, and one that appears after the check: nothing under its source is deleted", async () => {
  const { site, canary, before, ...example } = prepare()
  let inode: string | null = null
  const stage = () =>
    stageExample({ site, ...example }, (root) => {
      inode = root
    })
  await stage()
  const notes = join(site.base, "qemu/vm-1/root/dev/notes")
  Bun.spawnSync(["mount", "--bind", canary, notes])
  // It cannot be detached, however often it is tried.
  interpose({ before: (call) => (call === "umount2" ? 1 : 0) })
  expect(() => tearDown(site, inode)).toThrow("umount2")
  interpose(undefined)
  expect(manifest(place.dir)).toEqual(before)
  tearDown(site, inode)
  // It appears when all is checked: just before the first directory is emptied.
  for (const [when, where] of [
    ["getdents64", "dev/notes"],
    ["unlinkat", "dev"],
    ["renameat2", "dev/notes"],
  ] as const) {
    await stage()
    let mounted = false
    interpose({
      before(call) {
        if (mounted || call !== when) return 0
        mounted = true
        // Wherever the jail is by now.
        const found = Bun.spawnSync(["find", site.base, "-xdev", "-path", `*/${where}`, "-type", "d"])
          .stdout.toString()
          .trim()
        Bun.spawnSync(["mount", "--bind", canary, found.split("\n")[0] ?? ""])
        return 0
      },
    })
    expect(() => tearDown(site, inode), when).toThrow(/still mounted|cannot be removed/)
    interpose(undefined)
    expect(mounted).toBe(true)
    expect(manifest(place.dir), when).toEqual(before)
    for (const point of mountedIn(place).toReversed()) Bun.spawnSync(["umount", point])
    tearDown(site, inode)
    expectNoJail(site, when)
    expect(manifest(place.dir), when).toEqual(before)
  }
})

test("the naive way deletes through a bind mount, which is why it is not used", () => {
  const { canary } = prepare()
  const tree = join(place.dir, "tree")
  mkdirSync(join(tree, "bound"), { recursive: true })
  Bun.spawnSync(["mount", "--bind", canary, join(tree, "bound")])
  const parent = openAt(AT_FDCWD, place.dir, O.PATH | O_DIRECTORY)
  expect(() => removeTree(parent, "tree")).toThrow("cannot be removed")
  closeSync(parent)
  expect(existsSync(join(canary, "file"))).toBe(true)
  try {
    rmSync(tree, { recursive: true })
  } catch {
    // EBUSY, when all below the mount is deleted.
  }
  expect(existsSync(join(canary, "file"))).toBe(false)
  Bun.spawnSync(["umount", join(tree, "bound")])
})

test("a tree of depth 20,000 and of 200,000 files, with all that a uid can plant, goes; what is outside stays", async () => {
  // A file system of its own: making so many files on one that is in use takes minutes.
  chmodSync(place.dir, 0o711)
  const fs = mountImage(place, "ext4", "1G")
  const { site, canary, before, ...example } = prepare(fs)
  let inode: string | null = null
  await stageExample({ site, ...example }, (root) => {
    inode = root
  })
  const root = join(site.base, "qemu/vm-1/root")
  const plant = `
    ($<, $>) = (${OWNER.uid}, ${OWNER.uid});
    chdir "${root}" or die; mkdir "many"; mkdir "deep"; mkdir "odd";
    for (1..200000) { open(F, ">", "many/f$_") or die "f$_ $!"; close F }
    for (1..2000) { open(F, ">", "odd/" . ("x" x 240) . $_) or die; close F }
    for my $c (1..46, 48..255) { open(F, ">", "odd/n" . chr($c)); close F }
    symlink("${canary}", "odd/out"); symlink("/", "odd/top"); symlink("loop", "odd/loop");
    system("mkfifo", "odd/fifo");
    chdir "deep"; for (1..20000) { mkdir "d" or die "$_ $!"; chdir "d" or die }`
  const planted = Bun.spawnSync(["perl", "-e", plant])
  expect(planted.stderr.toString()).toBe("")
  const asRoot = `cd ${root} && mknod odd/node c 1 3 && touch odd/fixed odd/appended && mkdir odd/fixeddir && touch odd/fixeddir/in &&
    chattr +i odd/fixed odd/fixeddir && chattr +a odd/appended && mkdir odd/bound && touch odd/boundfile &&
    mount --bind ${canary} odd/bound && mount --bind ${canary}/file odd/boundfile && mount -t tmpfs none many`
  expect(Bun.spawnSync(["sh", "-c", asRoot]).stderr.toString()).toBe("")
  let most = 0
  const own = () => {
    most = Math.max(most, readdirSync("/proc/self/fd").length)
    return 0
  }
  const few = readdirSync("/proc/self/fd").length
  let calls = 0
  interpose({ before: () => (calls++ % 1000 === 0 ? own() : 0) })
  tearDown(site, inode)
  interpose(undefined)
  // One more for the look itself.
  expect(most - few).toBeLessThanOrEqual(8)
  expectNoJail(site, "after")
  expect(manifest(fs)).toEqual(before)
  Bun.spawnSync(["umount", fs])
})

test("two processes tear one jail down together, many times: both succeed, nothing is left", async () => {
  const { site, before, ...example } = prepare()
  const script = join(import.meta.dir, "../fixtures/tearDown.ts")
  for (let round = 0; round < 15; round++) {
    let inode = ""
    await stageExample({ site, ...example }, (root) => {
      inode = root
    })
    Bun.spawnSync(["sh", "-c", `cd ${site.base}/qemu/vm-1/root && for i in $(seq 60); do mkdir -p t/$i/a/b/c; done`])
    const both = Array.from({ length: 4 }, () =>
      Bun.spawn([process.execPath, script, site.base, site.vmm, site.id, inode], { stderr: "pipe", stdin: "pipe" }),
    )
    await Promise.all(both.map(({ stdin }) => stdin.end()))
    const said = await Promise.all(both.map(({ stderr }) => stderr.text()))
    expect(said).toEqual(["", "", "", ""])
    expectNoJail(site, `round ${round}`)
  }
  expect(manifest(place.dir)).toEqual(before)
  expect(statSync(site.base).mode & 0o777).toBe(0o711)
})

test("a plugin stages nothing outside the jail, through a symlink or a mount in it, or over what is there", async () => {
  const { site, canary, before, kernel, library } = prepare()
  let inode: string | null = null
  const jail = makeJail(site, OWNER, (root) => {
    inode = root
  })
  await stageFile(jail, "kernel", kernel, { readonly: true, way: undefined, signal: new AbortController().signal })
  stageLibraries(jail, librariesFrom(library))
  symlinkSync(canary, join(jail.now, "out"))
  const content = new TextEncoder().encode("x")
  for (const name of ["../x", "/x", "a/../../x", canary])
    expect(() => stageWrite(jail, name, content)).toThrow("cannot be staged")
  for (const name of ["out/x", "lib/x", "usr/lib/x", "usr/lib64/x/y", "kernel/x"]) {
    expect(() => stageWrite(jail, name, content), name).toThrow(/leads through something|EROFS/)
  }
  for (const name of ["kernel", "out", "lib"])
    expect(() => stageWrite(jail, name, content)).toThrow("is staged already")
  stageWrite(jail, "a/b", content)
  expect(statSync(join(jail.now, "a"))).toMatchObject({ uid: OWNER.uid, mode: 0o40700 })
  jail.close()
  tearDown(site, inode)
  expectNoJail(site, "after")
  expect(manifest(place.dir)).toEqual(before)
})
