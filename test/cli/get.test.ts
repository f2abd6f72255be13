import { expect, test } from "bun:test"
import { existsSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { progressText } from "../../src/cli/terminal/progress.ts"
import { PROGRAM } from "../program.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()

function cli(args: readonly string[], env: Record<string, string> = {}) {
  const places = { BANGER_STATE_DIR: join(directory.path, "state"), BANGER_RUNTIME_DIR: join(directory.path, "run") }
  const run = Bun.spawnSync([...PROGRAM, ...args], {
    env: { PATH: process.env.PATH, ...places, ...env },
    cwd: directory.path,
  })
  return { stdout: run.stdout.toString(), stderr: run.stderr.toString(), exit: run.exitCode }
}

test("an image of one's own: got, told of, named by a plugin, removed", () => {
  const path = join(directory.path, "state/images/mine")
  writeFileSync(join(directory.path, "vmlinux"), "a kernel")
  expect(cli(["get", "mine", "--from", "vmlinux"])).toMatchObject({ stdout: `${path}\n`, exit: 0 })
  expect(cli(["get", "mine", "--from", "vmlinux"]).stderr).toContain("mine is here already")
  expect(cli(["get", "path", "mine"]).stdout).toBe(`${path}\n`)
  const rows = JSON.parse(cli(["get", "ls", "--json"]).stdout)
  expect(rows[0]).toEqual({ name: "mine", here: true, sizeBytes: 8, path, also: [], about: null })
  expect(rows.map(({ name }: { name: string }) => name)).toContain("firecracker-1.16.1")
  expect(cli(["get", "ls"]).stdout).toMatch(/^mine +8B +\/.*\nfirecracker-1\.16\.1 +not here /)

  mkdirSync(join(directory.path, "bin"))
  const qemu = "#!/bin/sh\necho QEMU emulator version 7.2.0\n"
  writeFileSync(join(directory.path, "bin/qemu-system-x86_64"), qemu, { mode: 0o755 })
  const PATH = `${join(directory.path, "bin")}:${process.env.PATH}`
  writeFileSync(join(directory.path, "p.ts"), 'export default { kernel: "get:mine", vmm: "qemu", jail: false }\n')
  expect(cli(["run", "--plan", "p.ts"], { PATH }).stdout).toContain(`-kernel ${path}`)

  expect(cli(["get", "rm", "mine"])).toMatchObject({ exit: 0 })
  expect(existsSync(path)).toBe(false)
  expect(cli(["run", "--plan", "p.ts"], { PATH })).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining("the image mine is not here\nto get it: banger get mine"),
  })
})

test.each([
  [["get"], "WHAT is missing"],
  [["get", "vmlinux-6.2"], "did you mean vmlinux-6.1?"],
  [["get", "path"], "NAME is missing"],
  [["get", "rm", "nothing"], "the image nothing is not here"],
  [["get", "firecracker", "extra"], "unexpected argument extra"],
  [["get", "../x", "--from", "f"], '"../x" cannot be the name of an image'],
  [["get", "own", "--from", "https://x.example/k"], "needs its sum"],
  [["get", "own", "--from", "f", "--sha256", "xyz"], "--sha256 has 64 characters"],
  [["get", "own", "--from", "http://x.example/k", "--sha256", "0".repeat(64)], "anybody on the way could change"],
  [["get", "firecracker", "--sha256", "0".repeat(64)], "--sha256 is for an image of your own"],
] as const)("%p is wrong usage", (args, message) => {
  expect(cli(args)).toEqual({ exit: 2, stdout: "", stderr: expect.stringContaining(message) })
  expect(existsSync(join(directory.path, "state"))).toBe(false)
})

test("what is known by a name must have its sum, wherever it comes from", () => {
  writeFileSync(join(directory.path, "fake"), "not a kernel")
  const { exit, stderr } = cli(["get", "vmlinux-6.1", "--from", "fake"])
  expect({ exit, stderr }).toEqual({
    exit: 1,
    stderr: expect.stringContaining("is not what it should be: its sha256 is not"),
  })
  expect(cli(["get", "vmlinux-6.1"], { BANGER_MIRROR: directory.path }).stderr).toContain(
    `${directory.path}/vmlinux-6.1.155-`,
  )
  expect(cli(["get", "vmlinux-6.1"], { BANGER_MIRROR: "http://x.example" }).stderr).toContain("BANGER_MIRROR is")
})

test("progress tells how far, of how much, and how fast, as far as it is known", () => {
  expect(progressText("x", 1024 ** 2, 4 * 1024 ** 2, 512 * 1024)).toBe("x  1M of 4M  25%  512K/s")
  expect(progressText("x", 10, undefined, 0)).toBe("x  10B  0B/s")
})
