import { expect, test } from "bun:test"
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { readConfig } from "../../../src/store/state/config.ts"
import { failure } from "../../failure.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

function written(text: string): string {
  const path = join(directory.path, "config.toml")
  writeFileSync(path, text, { mode: 0o600 })
  return path
}

test("the configuration is read, also through a symlink; one that is not there is empty", () => {
  const path = written('qemu = "/opt/qemu"\n')
  expect(readConfig(path)).toEqual({ qemu: "/opt/qemu" })
  symlinkSync(path, join(directory.path, "link.toml"))
  expect(readConfig(join(directory.path, "link.toml"))).toEqual({ qemu: "/opt/qemu" })
  expect(readConfig(join(directory.path, "none.toml"))).toEqual({})
  expect(readConfig(join(path, "below"))).toEqual({})
})

test.each([
  ["an unknown key", 'quemu = "/q"', "unknown key quemu; did you mean qemu?"],
  ["no absolute path", 'qemu = "q"', 'qemu is "q"; allowed: an absolute path'],
  ["no yes or no", 'sudo = "no"', 'sudo is "no"; allowed: true or false'],
  ["other text", "qemu = ", "is not TOML"],
  ["a key twice", 'qemu = "/a"\nqemu = "/b"', "is not TOML"],
])("%s is a fault of the configuration, by the file's name", (_, text, message) => {
  const path = written(text)
  const fault = { code: "BAD_CONFIG", exit: 2, subject: path, message: expect.stringContaining(message) }
  expect(() => readConfig(path)).toThrow(expect.objectContaining(fault))
})

test("a directory, a file of any size and other bytes than text are faults of the configuration too", () => {
  mkdirSync(join(directory.path, "dir"))
  expect(() => readConfig(join(directory.path, "dir"))).toThrow(failure("BAD_CONFIG", "is not a regular file"))
  const path = written("#".repeat(1024 * 1024 + 1))
  expect(() => readConfig(path)).toThrow(failure("BAD_CONFIG", `${path} cannot be read: larger than 1048576 bytes`))
  writeFileSync(path, new Uint8Array([0xff]))
  expect(() => readConfig(path)).toThrow(failure("BAD_CONFIG", `${path} cannot be read`))
})

test.skipIf(process.geteuid?.() !== 0)("as root, one that others can write is not trusted", () => {
  const path = written("")
  chmodSync(path, 0o666)
  const untrusted = { code: "UNTRUSTED", exit: 1, hint: `run: chmod go-w ${path}` }
  expect(() => readConfig(path)).toThrow(expect.objectContaining(untrusted))
})
