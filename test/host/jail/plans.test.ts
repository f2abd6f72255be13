import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { ELF_HEAD_BYTES, hasInterpreter } from "../../../src/host/jail/elf.ts"
import { parseMounts } from "../../../src/host/jail/mountTable.ts"
import { waysFor } from "../../../src/host/jail/ways.ts"

const owner = { uid: 7, gid: 8 }
const source = { uid: 0, gid: 0, mode: 0o100644, nlink: 1 }
const ways = (stat: Partial<typeof source>, readonly: boolean, way?: "bind" | "clone" | "copy" | "link") =>
  waysFor("/f", { ...source, ...stat }, { owner, readonly, way })

test.each([
  ["is only read", {}, true, ["bind"]],
  ["is written", {}, false, ["clone", "copy"]],
  ["is only read, but not by all", { mode: 0o100600 }, true, ["clone", "copy"]],
  ["is read by the group", { mode: 0o100640, gid: 8 }, true, ["bind"]],
  ["is read by all but the group", { mode: 0o100604, gid: 8 }, true, ["clone", "copy"]],
  ["is the owner's to read", { mode: 0o100400, uid: 7 }, true, ["bind"]],
  ["is the owner's, who may not read it", { mode: 0o100044, uid: 7 }, true, ["clone", "copy"]],
] as const)("a file that %s is staged by %#", (_, stat, readonly, expected) => {
  expect(ways(stat, readonly)).toEqual([...expected])
})

test("a way that is insisted on is taken, or refused with the reason", () => {
  expect(ways({}, true, "bind")).toEqual(["bind"])
  expect(ways({}, false, "clone")).toEqual(["clone"])
  expect(ways({ uid: 7 }, false, "link")).toEqual(["link"])
  expect(ways({ uid: 7 }, false, "bind")).toEqual(["bind"])
  expect(() => ways({}, false, "link")).toThrow(
    "cannot be linked into the jail: it belongs to uid 0, the jail to uid 7",
  )
  expect(() => ways({ uid: 7, nlink: 2 }, false, "link")).toThrow("it has 2 names")
  expect(() => ways({}, false, "bind")).toThrow("cannot be bound writable")
  expect(() => ways({ mode: 0o100600 }, true, "bind")).toThrow("uid 7 may not read it")
})

const MOUNTINFO = [
  "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
  "30 22 254:0 /a /j/qemu/vm-1/root rw,nosuid - ext4 /dev/vda rw",
  "25 30 254:0 /k /j/qemu/vm-1/root/kernel ro,nosuid - ext4 /dev/vda rw",
  "40 25 254:0 /x /j/qemu/vm-1/root/kernel ro - ext4 /dev/vda rw",
  "41 30 0:9 / /j/qemu/vm-1/root/a\\040b\\011c\\134d\\012e rw - tmpfs none rw",
  "42 22 0:9 / /j/qemu/vm-10/root rw - tmpfs none rw",
  "43 22 0:9 / /j/qemu/vm-1x rw - tmpfs none rw",
  "",
].join("\n")

test("mounts are those on a path or below it, the innermost first, their names decoded", () => {
  expect(parseMounts(MOUNTINFO, "/j/qemu/vm-1").map(({ id }) => id)).toEqual([40, 41, 25, 30])
  expect(parseMounts(MOUNTINFO, "/j/qemu/vm-1").find(({ id }) => id === 41)?.point).toBe(
    "/j/qemu/vm-1/root/a b\tc\\d\ne",
  )
  expect(parseMounts(MOUNTINFO, "/j/qemu/vm-10").map(({ id }) => id)).toEqual([42])
  expect(parseMounts(MOUNTINFO, "/elsewhere")).toEqual([])
})

test("mutated tables are read without an error, and never name a mount elsewhere", () => {
  let seed = 7
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
    return seed % below
  }
  for (let round = 0; round < 20_000; round++) {
    const text = [...MOUNTINFO]
    for (let change = 0; change < 3; change++) text[random(text.length)] = String.fromCharCode(random(256))
    for (const { point } of parseMounts(text.join(""), "/j/qemu/vm-1")) expect(point).toStartWith("/j/qemu/vm-1")
  }
})

test("a program is dynamic when its ELF names a loader", () => {
  const own = new Uint8Array(readFileSync(process.execPath).buffer.slice(0, ELF_HEAD_BYTES))
  expect(hasInterpreter(own)).toBe(true)
  const fixed = own.slice()
  const view = new DataView(fixed.buffer)
  const [offset, count] = [Number(view.getBigUint64(32, true)), view.getUint16(56, true)]
  for (let index = 0; index < count; index++) {
    if (view.getUint32(offset + index * 56, true) === 3) view.setUint32(offset + index * 56, 0, true)
  }
  expect(hasInterpreter(fixed)).toBe(false)
  expect(() => hasInterpreter(new Uint8Array(10))).toThrow("not a 64-bit ELF program")
  expect(() => hasInterpreter(new TextEncoder().encode("#!/bin/sh\n".repeat(20)))).toThrow("not a 64-bit ELF program")
  expect(() => hasInterpreter(own.slice(0, 64))).toThrow("not at its beginning")
})
