import { expect, test } from "bun:test"
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { configSchema, configured, PROGRAMS, readConfig } from "../../../src/store/state/config.ts"
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
  ["a path that is not absolute", 'qemu = "./q"', 'qemu is "./q"; allowed: an absolute path, or a name'],
  ["a place that is not absolute", 'state = "st"', 'state is "st"; allowed: an absolute path'],
  ["no yes or no", 'sudo = "no"', 'sudo is "no"; allowed: true or false'],
  ["other text", "qemu = ", "is not TOML"],
  ["a key twice", 'qemu = "/a"\nqemu = "/b"', "is not TOML"],
])("%s is a fault of the configuration, by the file's name", (_, text, message) => {
  const path = written(text)
  const fault = { code: "BAD_CONFIG", exit: 2, subject: path, message: expect.stringContaining(message) }
  expect(() => readConfig(path)).toThrow(expect.objectContaining(fault))
})

test("docs/config.md has each key that is taken, with an example that is taken, and no other", () => {
  const docs = readFileSync(join(import.meta.dir, "../../../docs/config.md"), "utf8")
  const rows = [...docs.matchAll(/^\| `(\w+)` \| `(".*?"|true|false|\d+)` \|/gm)].map(([, key = "", example = ""]) => [
    key,
    example,
  ])
  for (const [key, example] of rows)
    expect(Object.keys(readConfig(written(`${key} = ${example}`)))).toEqual([key ?? ""])
  expect(rows.map(([key]) => key).toSorted()).toEqual(Object.keys(configSchema.entries).toSorted())
})

test("a bare name is looked up in PATH, a missing one is a fault; ~/ is a user's", () => {
  const dir = join(directory.path, "bin")
  mkdirSync(dir, { mode: 0o755 })
  writeFileSync(join(dir, "nft-9"), "#!/bin/sh\n", { mode: 0o755 })
  const before = process.env.PATH
  try {
    process.env.PATH = dir
    expect(configured({ nft: "nft-9" }, "nft", "/c")).toBe(join(dir, "nft-9"))
    for (const key of PROGRAMS)
      expect(() => configured({ [key]: "no-such" }, key, "/c")).toThrow(
        failure("BAD_CONFIG", `/c: ${key} is "no-such", which is not in PATH`),
      )
    chmodSync(join(dir, "nft-9"), 0o777)
    if (process.geteuid?.() === 0)
      expect(() => configured({ nft: "nft-9" }, "nft", "/c")).toThrow(failure("BAD_CONFIG", "others can write it"))
  } finally {
    process.env.PATH = before
  }
  expect(configured({ xz: "/opt/xz" }, "xz", "/c")).toBe("/opt/xz")
  expect(configured({}, "xz", "/c")).toBeUndefined()
  if (process.geteuid?.() === 0)
    expect(() => configured({ xz: "~/xz" }, "xz", "/c")).toThrow(failure("BAD_CONFIG", "~ is a user's"))
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
