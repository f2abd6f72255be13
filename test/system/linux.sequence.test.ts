import { expect, test } from "bun:test"
import { chmodSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { O, O_DIRECTORY } from "../../src/base/linux/constants.ts"
import { openAt, withDescriptor } from "../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../src/base/linux/guards.ts"
import { interpose } from "../../src/base/linux/interpose.ts"
import { MOUNT_ATTR } from "../../src/base/linux/mounts.ts"
import { listenUnix } from "../../src/base/linux/sockets.ts"
import { hostPath } from "../../src/base/terms/path.ts"
import { bindAt } from "../../src/host/jail/bind.ts"
import { makeJail } from "../../src/host/jail/makeJail.ts"
import { stageFile } from "../../src/host/jail/stageFile.ts"
import { tearDown } from "../../src/host/jail/tearDown.ts"
import { setSocketAccess } from "../../src/host/sockets/access.ts"
import { closeDirectory, openDirectory } from "../../src/host/sockets/directory.ts"
import { OWNER } from "../fixtures/jail.ts"
import { makeDead } from "../fixtures/sockets/crowd.ts"
import { sweepDirectory } from "../fixtures/sockets/sweepOne.ts"
import { eachInItsPlace } from "./support/place.ts"
import { directoryIn } from "./support/sweeping.ts"

const place = eachInItsPlace()
const pin = (path: string) => openAt(AT_FDCWD, path, O.PATH | O_DIRECTORY)

/** The system calls that `work` makes, in order, with what they are made on; descriptors' numbers are left out. */
function callsOf(work: () => void): readonly string[] {
  const calls: string[] = []
  interpose({
    before(call, subject = "") {
      // What time it is touches no file.
      if (call !== "close" && call !== "clock_gettime") calls.push(`${call} ${subject.replace(/\d+$/, "N")}`.trim())
      return 0
    },
  })
  try {
    work()
  } finally {
    interpose(undefined)
  }
  return calls
}

/** A directory is listed until there is no more. */
const LISTED = ["getdents64", "getdents64"]

// Each line is there for a reason (docs/design.md): a change here is a change of what is guaranteed.

test("the access of a socket is set by these calls and no others", () => {
  const listener = listenUnix(join(place.dir, "x.sock"), 1)
  const calls = withDescriptor(pin(place.dir), (dir) =>
    callsOf(() => setSocketAccess(dir, "x.sock", { ...OWNER, mode: 0o660 })),
  )
  withDescriptor(listener, () => {})
  expect(calls).toEqual([
    "openat2 x.sock",
    "statx",
    "fchmodat /proc/self/fd/N",
    "fchownat descriptor N",
    "fchmodat /proc/self/fd/N",
    "statx",
  ])
})

test("a bind mount is made by these calls and no others", () => {
  mkdirSync(join(place.dir, "source"))
  mkdirSync(join(place.dir, "point"))
  const calls = withDescriptor(pin(join(place.dir, "source")), (source) =>
    withDescriptor(pin(place.dir), (dir) => callsOf(() => bindAt(source, { dir, name: "point" }, MOUNT_ATTR.RDONLY))),
  )
  Bun.spawnSync(["umount", join(place.dir, "point")])
  expect(calls).toEqual([
    "statx",
    "open_tree",
    // Read-only before anybody can reach it.
    "mount_setattr",
    "openat2 point",
    "statx",
    "move_mount",
    "openat2 point",
    "statx",
    "statx",
  ])
})

test("a jail with a bound kernel is torn down by these calls and no others", async () => {
  chmodSync(place.dir, 0o711)
  const kernel = join(place.dir, "kernel")
  writeFileSync(kernel, "x", { mode: 0o644 })
  const site = { base: hostPath(join(place.dir, "jail")), vmm: "qemu", id: "vm-1" }
  let inode = ""
  const jail = makeJail(site, OWNER, (root) => {
    inode = root
  })
  await stageFile(jail, "kernel", kernel, { readonly: true, way: undefined, signal: new AbortController().signal })
  jail.place()
  jail.close()
  const calls = callsOf(() => tearDown(site, inode))
  const pinned = ["openat /", "statx", ...["run", "banger", "jail"].flatMap((name) => [`openat ${name}`, "statx"])]
  const named = calls.map((call) =>
    call
      .replace(/banger-test-\w+/, "banger")
      .replace(/vm-1\.\d+\.N/, "GRAVE")
      .replace(/vm-1\.[0-9a-f-]+-N/, "MOVED"),
  )
  expect(named).toEqual([
    ...pinned,
    // The trash, root's alone.
    "mkdirat .grave",
    "openat2 .grave",
    "statx",
    // Neither half-made nor …
    "openat2 .stage-vm-N",
    // … in its place with another root.
    "openat2 qemu",
    "openat2 vm-N",
    "statx root",
    // Mounts, innermost first, each by its parent's descriptor.
    ...["openat2 .", "openat2 qemu", "openat2 vm-N", "openat2 root", "statx kernel", "umount2 kernel"],
    ...["openat2 .", "openat2 qemu", "openat2 vm-N", "statx root", "umount2 root"],
    "statx root",
    // Away from where its uid can reach, then down to nothing.
    "renameat2 GRAVE",
    ...["openat2 .", ...LISTED],
    ...["openat2 GRAVE", "getdents64", "renameat2 MOVED", "getdents64"],
    ...["openat2 MOVED", "getdents64", "unlinkat kernel", "getdents64", "unlinkat MOVED"],
    "unlinkat GRAVE",
    ...["openat2 .", ...LISTED],
    // Proven gone from each place.
    "statx .stage-vm-N",
    ...["openat2 .", ...LISTED],
    ...["openat2 qemu", "statx vm-N"],
  ])
})

test("two dead sockets, one with a lock, are removed by these calls and no others", async () => {
  const dir = directoryIn(place.dir, "sockets")
  for (const name of ["a", "b"]) makeDead(join(dir, name))
  writeFileSync(join(dir, "b.lock"), "")
  const directory = openDirectory(dir, new Set())
  const rules = { grace: 0, uid: undefined, ownerOf: () => undefined }
  const settings = { rules, dryRun: false, confirm: 1, confirmDelay: 0, veto: undefined }
  const removed: string[] = []
  // One round is done before anything is awaited.
  const calls = callsOf(() => {
    void sweepDirectory(directory, settings, (name) => removed.push(new TextDecoder().decode(name)))
  })
  closeDirectory(directory)
  const [first = "", second = ""] = removed
  expect(removed.toSorted()).toEqual(["a", "b"])
  const barrier = ["lseek", "getdents64"]
  // Nothing can come between: only this thread has that uid, and it waits for nothing.
  const remove = (name: string) => ["capget", "capset", "fchownat descriptor N", `unlinkat ${name}`, "statx"]
  const locked = [
    "openat b.lock",
    "statx",
    "openat /proc/self/fd/N",
    "flock",
    "fcntl(F_OFD_SETLK)",
    ...barrier,
    "connect",
  ]
  const witness = ["socket", "send", "recv", "recv"]
  const one = (name: string) => [...(name === "b" ? locked : ["openat a.lock"]), ...remove(name)]
  expect(calls).toEqual([
    "socket",
    ...["openat .", "openat .", "openat ."],
    ...["lseek", "getdents64"],
    // Pinned, looked at, …
    ...[`openat ${first}`, "statx", `openat ${second}`, "statx"],
    // … then the barrier, then the question.
    ...barrier,
    "connect",
    ...witness,
    ...one(first),
    "connect",
    ...one(second),
    "getdents64",
  ])
})
