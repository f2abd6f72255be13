import { expect, test } from "bun:test"
import { existsSync, mkdirSync, readdirSync, statSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fixture, start, startGuest } from "./support/banger.ts"
import { eachInItsPlace, records } from "./support/place.ts"

const place = eachInItsPlace()

test("a kernel that is none ends with QEMU's own words", async () => {
  const kernel = join(place.dir, "garbage")
  writeFileSync(kernel, "this is no kernel\n".repeat(100))
  const { stderr, exit } = await startGuest(place, "", { kernel }).ended
  expect(stderr).toMatch(/the VMM ended at once: qemu: .*kernel/)
  expect(stderr).toContain("postStop: failed to start")
  expect(exit).toBe(1)
})

test.each([
  [
    "a missing kernel",
    () => ({ kernel: "/nonexistent/vmlinuz" }),
    "kernel: there is no file /nonexistent/vmlinuz\na relative path starts from the plugin's directory; to get a kernel: banger get vmlinux-6.1",
  ],
  ["a directory as kernel", () => ({ kernel: "/etc" }), "kernel: /etc is a directory, not a file"],
  ["an empty initrd", () => ({ initrd: emptyFile() }), "is empty"],
  [
    "a missing drive",
    () => ({ drives: [{ path: "/nonexistent.img" }] }),
    "drives[0].path: there is no file /nonexistent.img",
  ],
  [
    "a command line that kernels would cut",
    () => ({ bootArgs: `console=ttyS0 ${"x".repeat(2020)}` }),
    /bootArgs: a kernel command line of 2\d{3} bytes, but kernels read 2047; \d+ of them by banger itself\nmake bootArgs shorter, by \d+ bytes/,
  ],
  [
    "one that only a network makes too long",
    () => ({ bootArgs: `console=ttyS0 ${"x".repeat(1960)}`, network: "user" }),
    /bootArgs: a kernel command line of 2\d{3} bytes/,
  ],
] as const)("%s is refused before anything is made", async (_, spec, message) => {
  const { stdout, stderr, exit } = await startGuest(place, "", spec()).ended
  expect(stderr).toMatch(message)
  expect(stdout).toBe("")
  expect(exit).toBe(2)
  expect(records(place)).toEqual([])
})

test("without QEMU the message says how to get it", async () => {
  const run = start(place, ["run", fixture("guest")], { PATH: "/nonexistent" })
  const { stderr, exit } = await run.ended
  expect(stderr).toContain("qemu-system-x86_64 is not in PATH")
  expect(stderr).toContain("apt-get install qemu-system-x86")
  expect(exit).toBe(1)
})

test("a QEMU that never answers is given up after the limit", async () => {
  const bin = fakeQemu("exec sleep 600\n")
  const spec = JSON.stringify({ timeouts: { start: "1s" } })
  const { stderr, exit } = await start(place, ["run", fixture("guest"), "--", "", spec], {
    PATH: `${bin}:${process.env.PATH}`,
  }).ended
  expect(stderr).toContain("the VMM did not greet in 1s")
  expect(exit).toBe(124)
})

test("a QEMU that dies at once is quoted", async () => {
  const bin = fakeQemu("echo no luck today >&2\nexit 3\n")
  const { stderr, exit } = await start(place, ["run", fixture("guest")], { PATH: `${bin}:${process.env.PATH}` }).ended
  expect(stderr).toContain("the VMM ended at once: no luck today")
  expect(exit).toBe(1)
})

test("a writable drive that another VM has open is refused with QEMU's words", async () => {
  const disk = join(place.dir, "disk.img")
  writeFileSync(disk, new Uint8Array(1024 * 1024))
  // Else each would have a copy of its own.
  const spec = { drives: [{ path: disk, write: "shared" }], jail: false }
  const first = startGuest(place, "echo up; sleep 600", spec)
  await first.shows("up")
  const second = await startGuest(place, "", { ...spec, name: "second" }).ended
  expect(second.stderr).toContain('Failed to get "write" lock')
  expect(second.exit).toBe(1)
  first.signal("SIGINT")
  await first.ended
})

test("a socket path that would be too long is refused by its length before anything is made", async () => {
  const long = join(place.dir, "x".repeat(90))
  const { stderr, exit } = await start(place, ["run", fixture("guest")], { BANGER_RUNTIME_DIR: long }).ended
  expect(stderr).toMatch(/has \d+ bytes; 107 is the most/)
  expect(stderr).toContain("set BANGER_RUNTIME_DIR to a shorter directory")
  expect(exit).toBe(2)
})

test.each([
  ["96k", "cannot be used: database or disk is full"],
  ["8k", "state.db"],
])("on a full disk (%s) nothing is started", async (size, message) => {
  const full = join(place.dir, "full")
  mkdirSync(full)
  expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", `size=${size}`, "full", full]).exitCode).toBe(0)
  try {
    const { stderr, exit } = await start(place, ["run", fixture("guest")], { BANGER_STATE_DIR: join(full, "state") })
      .ended
    expect(stderr).toContain(message)
    expect(exit).toBe(1)
  } finally {
    expect(Bun.spawnSync(["umount", full]).exitCode).toBe(0)
  }
})

test.each([
  ["to the last byte", 0],
  ["but for a console", 80 * 1024],
])("a state disk that fills %s while the VM runs keeps nothing from being cleaned up", async (_, left) => {
  const full = join(place.dir, "full")
  mkdirSync(full)
  expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=2M", "full", full]).exitCode).toBe(0)
  try {
    const env = { BANGER_STATE_DIR: join(full, "state") }
    const spec = JSON.stringify({ console: { limit: "64K" } })
    const run = start(place, ["run", fixture("guest"), "--", "echo up; sleep 3; seq 1 20000", spec], env)
    await run.shows("up")
    expect(() => writeFileSync(join(full, "filler"), new Uint8Array(4 * 1024 * 1024))).toThrow("ENOSPC")
    truncateSync(join(full, "filler"), statSync(join(full, "filler")).size - left)
    const { stderr } = await run.ended
    expect(stderr).toContain("postStop: guest reset")
    expect(stderr).not.toContain("did not catch")
    expect(existsSync(join(full, "state/jail/qemu"))).toBe(true)
    expect(readdirSync(join(full, "state/jail/qemu"))).toEqual([])
    expect(readdirSync(place.runtime)).toEqual([])
  } finally {
    expect(Bun.spawnSync(["umount", full]).exitCode).toBe(0)
  }
})

function emptyFile(): string {
  const path = join(place.dir, "empty")
  writeFileSync(path, "")
  return path
}

/** Tells its version, as QEMU does, before the script goes on. */
const ANSWERING = '#!/bin/sh\n[ "$1" != --version ] || exec echo QEMU emulator version 7.2.0\n'

function fakeQemu(script: string): string {
  const bin = join(place.dir, "bin")
  mkdirSync(bin)
  writeFileSync(join(bin, "qemu-system-x86_64"), `${ANSWERING}${script}`, { mode: 0o755 })
  return bin
}
