import { expect, test } from "bun:test"
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { readConfig } from "../../../src/store/state/config.ts"
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
  ["no TOML", "qemu = ", "is no TOML"],
  ["a key twice", 'qemu = "/a"\nqemu = "/b"', "is no TOML"],
])("%s is a fault of the configuration, by the file's name", (_, text, message) => {
  const path = written(text)
  const fault = { code: "BAD_CONFIG", exit: 2, subject: path, message: expect.stringContaining(message) }
  expect(() => readConfig(path)).toThrow(expect.objectContaining(fault))
})

test("what is no file is refused", () => {
  mkdirSync(join(directory.path, "dir"))
  expect(() => readConfig(join(directory.path, "dir"))).toThrow("is not a regular file")
})

test.skipIf(process.geteuid?.() !== 0)("as root, one that others can write is not trusted", () => {
  const path = written("")
  chmodSync(path, 0o666)
  const untrusted = { code: "UNTRUSTED", exit: 1, hint: `run: chmod go-w ${path}` }
  expect(() => readConfig(path)).toThrow(expect.objectContaining(untrusted))
})
