import { expect, test } from "bun:test"
import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { LOCK, O, O_DIRECTORY, S } from "../../../src/base/linux/constants.ts"
import { readAll, writeAll } from "../../../src/base/linux/content.ts"
import {
  close,
  flock,
  isType,
  mkfifoAt,
  openAt,
  openBeneath,
  renameNoReplace,
  statAt,
  statDescriptor,
  unlinkAt,
  withDescriptor,
} from "../../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../../src/base/linux/guards.ts"
import { packSockaddrUn } from "../../../src/base/linux/structs.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const open = () => openAt(AT_FDCWD, directory.path, O.PATH | O_DIRECTORY)

test("statx tells what the runtime's own stat tells", () => {
  const path = join(directory.path, "file")
  writeFileSync(path, "12345")
  const node = statSync(path)
  const stat = statAt(AT_FDCWD, path)
  expect(stat).toMatchObject({
    size: 5,
    uid: node.uid,
    gid: node.gid,
    mode: node.mode,
    nlink: 1,
    ino: BigInt(node.ino),
  })
  expect(Math.abs(stat.mtimeMs - node.mtimeMs)).toBeLessThan(1)
  expect(statAt(AT_FDCWD, "/dev/null").rdev).toBe("1:3")
})

test("nothing is opened outside the directory, by whatever way", () => {
  mkdirSync(join(directory.path, "inside"))
  symlinkSync("/etc", join(directory.path, "link"))
  symlinkSync("inside", join(directory.path, "innocent"))
  withDescriptor(open(), (dir) => {
    for (const path of ["..", "../..", "/etc/passwd", "inside/../../x"])
      expect(() => openBeneath(dir, path, 0), path).toThrow("EXDEV")
    for (const path of ["link", "link/passwd", "innocent"])
      expect(() => openBeneath(dir, path, 0), path).toThrow("ELOOP")
    close(openBeneath(dir, "inside", O.RDONLY))
  })
})

test("a file is written whole and read whole, up to a limit", () => {
  const path = join(directory.path, "big")
  const bytes = crypto.getRandomValues(new Uint8Array(65536))
  withDescriptor(openAt(AT_FDCWD, path, O.WRONLY | O.CREAT | O.EXCL, 0o600), (fd) => {
    for (let i = 0; i < 20; i++) writeAll(fd, bytes)
  })
  expect(statSync(path).size).toBe(20 * 65536)
  withDescriptor(openAt(AT_FDCWD, path, O.RDONLY), (fd) => expect(() => readAll(fd, 1000)).toThrow("larger than 1000"))
  withDescriptor(openAt(AT_FDCWD, path, O.RDONLY), (fd) => expect(readAll(fd, 2 ** 21).length).toBe(20 * 65536))
})

test("names are made, moved and removed below a descriptor", () => {
  withDescriptor(open(), (dir) => {
    mkfifoAt(dir, "fifo", 0o600)
    expect(isType(statAt(dir, "fifo"), S.IFIFO)).toBe(true)
    writeFileSync(join(directory.path, "taken"), "kept")
    expect(() => renameNoReplace(dir, "fifo", dir, "taken")).toThrow("EEXIST")
    renameNoReplace(dir, "fifo", dir, "moved")
    unlinkAt(dir, "moved")
    expect(() => statAt(dir, "moved")).toThrow("ENOENT")
    expect(readFileSync(join(directory.path, "taken"), "utf8")).toBe("kept")
    expect(() => unlinkAt(dir, "taken/x")).toThrow("ENOTDIR")
  })
})

test("a lock has one holder", () => {
  const path = join(directory.path, "lock")
  const [first, second] = [0, 1].map(() => openAt(AT_FDCWD, path, O.RDWR | O.CREAT, 0o600))
  flock(first ?? -1, LOCK.EX | LOCK.NB)
  expect(() => flock(second ?? -1, LOCK.EX | LOCK.NB)).toThrow("EAGAIN")
  close(first ?? -1)
  flock(second ?? -1, LOCK.EX | LOCK.NB)
  close(second ?? -1)
})

test("a descriptor that is none is told from a file that is none", () => {
  expect(() => statDescriptor(1_000_000)).toThrow("EBADF")
  expect(() => close(1_000_000)).toThrow("EBADF")
})

test("a socket path has at most 107 bytes, counted as bytes", () => {
  expect(packSockaddrUn("x".repeat(107)).length).toBe(2 + 107 + 1)
  expect(() => packSockaddrUn("x".repeat(108))).toThrow("longer than 107")
  expect(() => packSockaddrUn("é".repeat(54))).toThrow("longer than 107")
  for (const path of ["", "a\0b"]) expect(() => packSockaddrUn(path)).toThrow("not a socket path")
})
