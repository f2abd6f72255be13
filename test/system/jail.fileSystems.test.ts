import { expect, test } from "bun:test"
import { chownSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { hostPath } from "../../src/base/terms/path.ts"
import { type Jail, makeJail } from "../../src/host/jail/makeJail.ts"
import { stageFile } from "../../src/host/jail/stageFile.ts"
import { tearDown } from "../../src/host/jail/tearDown.ts"
import type { Way } from "../../src/host/jail/ways.ts"
import { OWNER } from "../fixtures/jail.ts"
import { expectNoJail } from "./support/canary.ts"
import { mountImage } from "./support/mountImage.ts"
import { eachInItsPlace } from "./support/place.ts"

const place = eachInItsPlace()
const signal = new AbortController().signal

/** Stages one file in a jail of its own; `look` sees it while the jail is there. */
async function inJail(
  base: string,
  source: string,
  readonly: boolean,
  way: Way | undefined,
  look: (jail: Jail, went: Way) => void,
) {
  const site = { base: hostPath(base), vmm: "qemu", id: "vm-1" }
  let inode = ""
  const jail = makeJail(site, OWNER, (root) => {
    inode = root
  })
  try {
    const { way: went } = await stageFile(jail, "file", source, { readonly, way, signal })
    jail.place()
    look(jail, went)
  } finally {
    jail.close()
    tearDown(site, inode)
    expectNoJail(site, source)
  }
}

const facts = (path: string) => {
  const { mode, uid, gid, nlink, size, ino, mtimeMs } = statSync(path)
  return { mode, uid, gid, nlink, size, ino, mtimeMs, content: readFileSync(path, "utf8") }
}

test.each([
  ["tmpfs", false],
  ["ext4", false],
  ["btrfs", true],
  ["xfs", true],
])("on %s each way of staging works or says why not, and the source stays as it is", async (kind, clones) => {
  const fs = mountImage(place, kind, "320M")
  const base = join(fs, "jail")
  const own = join(fs, "own")
  for (const dir of [fs, place.dir]) {
    const source = join(dir, "source")
    writeFileSync(source, "content", { mode: 0o644 })
    const before = facts(source)
    for (const readonly of [true, false]) {
      for (const way of [undefined, "copy", "bind", "clone"] as const) {
        const here = dir === fs
        const refused = (way === "bind" && !readonly) || (way === "clone" && !(clones && here))
        const staged = inJail(base, source, readonly, way, (jail, went) => {
          expect(went).toBe(way ?? (readonly ? "bind" : "copy"))
          const path = join(jail.path, "file")
          expect(readFileSync(path, "utf8")).toBe("content")
          if (went === "bind") expect(() => writeFileSync(path, "x")).toThrow("EROFS")
          else expect(statSync(path)).toMatchObject({ uid: OWNER.uid, gid: OWNER.gid, nlink: 1, mode: 0o100600 })
          if (went !== "bind") writeFileSync(path, "changed")
          expect(facts(source)).toEqual(before)
        })
        if (refused) await expect(staged).rejects.toThrow(/cannot be (bound writable|cloned into the jail)/)
        else await staged
        expect(facts(source)).toEqual(before)
      }
    }
    const linked = () => inJail(base, source, false, "link", () => {})
    await expect(linked()).rejects.toThrow("cannot be linked into the jail: it belongs to uid 0")
  }
  for (const dir of [fs, place.dir]) {
    const source = dir === fs ? own : join(dir, "own")
    writeFileSync(source, "content", { mode: 0o600 })
    chownSync(source, OWNER.uid, OWNER.gid)
    const before = facts(source)
    const staged = inJail(base, source, false, "link", (jail) => {
      expect(statSync(join(jail.path, "file")).ino).toBe(statSync(source).ino)
      expect(statSync(source).nlink).toBe(2)
    })
    if (dir === fs) await staged
    else await expect(staged).rejects.toThrow("is on another file system or mount")
    expect(facts(source)).toEqual(before)
  }
  Bun.spawnSync(["umount", fs])
})

test("a kernel that the jail's uid may not read is copied, not opened up", async () => {
  const source = join(place.dir, "vmlinuz")
  writeFileSync(source, "kernel", { mode: 0o600 })
  Bun.spawnSync(["chmod", "711", place.dir])
  const before = facts(source)
  await inJail(join(place.dir, "jail"), source, true, undefined, (jail, went) => {
    expect(went).toBe("copy")
    expect(statSync(join(jail.path, "file"))).toMatchObject({ uid: OWNER.uid, mode: 0o100600 })
  })
  await expect(inJail(join(place.dir, "jail"), source, true, "bind", () => {})).rejects.toThrow("may not read it")
  expect(facts(source)).toEqual(before)
})

test("a jail works where its file system is mounted noexec, nodev and nosuid", async () => {
  const fs = mountImage(place, "tmpfs", "16M")
  Bun.spawnSync(["mount", "-o", "remount,noexec,nodev,nosuid", fs])
  const { makeExample, stageExample } = await import("../fixtures/jail.ts")
  const example = makeExample(fs)
  let inode: string | null = null
  await stageExample(example, (root) => {
    inode = root
  })
  const { mountsBelow } = await import("../../src/host/jail/mountTable.ts")
  const root = join(example.site.base, "qemu/vm-1/root")
  const options = mountsBelow(root).find(({ point }) => point === root)?.options
  expect(options).toBe("rw,nosuid,relatime")
  tearDown(example.site, inode)
  expectNoJail(example.site, "after")
  Bun.spawnSync(["umount", fs])
})
