import { expect, test } from "bun:test"
import { chmodSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { hostPath } from "../../../src/base/terms/path.ts"
import { seenSettings } from "../../../src/supervisor/boot/plan.ts"
import { requireSettingFiles } from "../../../src/supervisor/boot/settingFiles.ts"
import { requireSavable } from "../../../src/supervisor/snapshot/savable.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const OWNER = { uid: 1_900_000_000, gid: 1_900_000_000 }

function file(bytes: number): string {
  const path = join(directory.path, "memory.img")
  writeFileSync(path, Buffer.alloc(bytes))
  return path
}

const MIB_BYTES = 1024 * 1024

test("the VMM sees its files where they are, or by their names in its jail", () => {
  const settings = { pmem: [{ id: "p", path: "/a/b" }], vhost_user: [{ id: "v", socket: "/s" }], entropy: {} }
  expect(seenSettings(settings, undefined)).toEqual(settings)
  expect(seenSettings(settings, hostPath("/j/root"))).toEqual({
    ...{ pmem: [{ id: "p", path: "/pmem0" }], vhost_user: [{ id: "v", socket: "/vhost0.sock" }], entropy: {} },
  })
})

test.each([
  [2 * MIB_BYTES, false, undefined, undefined],
  [MIB_BYTES, true, undefined, undefined],
  [MIB_BYTES, false, OWNER, undefined],
  [MIB_BYTES, false, undefined, "is no multiple of 2 MiB: what the guest wrote behind its end would be lost"],
  [0, false, OWNER, "is empty"],
] as const)("a persistent memory of %d bytes, read_only %p, owner %p: %p", (bytes, read_only, owner, words) => {
  const pmem = [{ id: "p", path: file(bytes), read_only }]
  const require = () => requireSettingFiles({ pmem }, owner)
  if (words === undefined) require()
  else expect(require).toThrow(`firecracker.pmem[0].path: ${pmem[0]?.path} ${words}`)
})

test.each(["/nope", "/dev/null/x"])("a file that is not there is named: %s", (path) => {
  expect(() => requireSettingFiles({ pmem: [{ id: "p", path }] }, OWNER)).toThrow(
    `firecracker.pmem[0].path: there is no ${path}`,
  )
})

test("what is neither a file nor a socket is refused", () => {
  const path = join(directory.path, "dir")
  mkdirSync(path)
  expect(() => requireSettingFiles({ pmem: [{ id: "p", path }] }, OWNER)).toThrow("is not a regular file")
  const vhost_user = [{ id: "v", socket: file(1) }]
  expect(() => requireSettingFiles({ vhost_user }, undefined)).toThrow("firecracker.vhost_user[0].socket: ")
  expect(() => requireSettingFiles({ vhost_user }, undefined)).toThrow("is not a socket")
})

test("a socket that the jail's uid may not write to is refused, with what mends it", () => {
  const socket = join(directory.path, "s.sock")
  const server = Bun.listen({ unix: socket, socket: { data() {} } })
  const vhost_user = [{ id: "v", socket }]
  const { uid = 0, gid = 0 } = { uid: process.getuid?.(), gid: process.getgid?.() }
  try {
    chmodSync(socket, 0o600)
    requireSettingFiles({ vhost_user }, undefined)
    requireSettingFiles({ vhost_user }, { uid, gid })
    expect(() => requireSettingFiles({ vhost_user }, OWNER)).toThrow("uid 1900000000 of the jail may not write to it")
    expect(() => requireSettingFiles({ vhost_user }, { ...OWNER, gid })).toThrow("may not write to it")
    chmodSync(socket, 0o620)
    requireSettingFiles({ vhost_user }, { ...OWNER, gid })
    chmodSync(socket, 0o602)
    requireSettingFiles({ vhost_user }, OWNER)
  } finally {
    server.stop(true)
  }
})

test("a VM that Firecracker, or banger, cannot save is not asked to be", () => {
  requireSavable({ drives: [], firecracker: { pmem: [], entropy: {} } })
  const [pmem, vhost_user] = [[{ id: "p", path: "/p" }], [{ id: "v", socket: "/s" }]]
  expect(() => requireSavable({ drives: [], firecracker: { pmem } })).toThrow(
    "firecracker.pmem: a VM with it cannot be saved",
  )
  expect(() => requireSavable({ drives: [], firecracker: { vhost_user } })).toThrow(
    "firecracker.vhost_user: a VM with it cannot",
  )
})
