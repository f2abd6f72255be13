import { expect, test } from "bun:test"
import { appendFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Failure } from "../../src/base/terms/failure.ts"
import { decodeStatus } from "../../src/host/process/exitStatus.ts"
import { parseZombieStatus } from "../../src/host/process/procfs.ts"
import { controlKey } from "../../src/operations/attach.ts"
import { followLines } from "../../src/store/logs/lines.ts"
import { restartPolicy } from "../../src/supervisor/restartPolicy.ts"
import { endOf } from "../../src/vm/exit.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()

const exit = {
  reason: "crashed",
  requested: false,
  code: 1,
  signal: null,
  panic: undefined,
  detail: undefined,
} as const
const failed = { failure: new Failure("FAILED", "x"), exit }
const well = { failure: undefined, exit }

test.each([
  ["no", failed, undefined],
  ["on-failure", failed, 100],
  ["on-failure", well, undefined],
  ["always", well, 100],
  ["always", { failure: undefined, exit: { ...exit, requested: true } }, undefined],
] as const)("policy %s after %p waits %p ms", (policy, outcome, wait) => {
  expect(restartPolicy({ policy, limit: 3, delay: 100 }).next(outcome)).toBe(wait)
})

test("each restart waits twice as long, to the limit; a VM that ran for a minute begins anew", () => {
  const policy = restartPolicy({ policy: "always", limit: 3, delay: 1000 }, { count: 0, since: 0 })
  expect([0, 0, 0, 0].map((at) => policy.next(failed, at))).toEqual([1000, 2000, 4000, undefined])
  expect(policy.next(failed, 70_000)).toBe(1000)
  const long = restartPolicy({ policy: "always", limit: 100, delay: 1000 }, { count: 0, since: 0 })
  expect(Array.from({ length: 12 }, () => long.next(failed, 0)).at(-1)).toBe(5 * 60_000)
})

test.each([
  ["[    3.1] reboot: Restarting system\r\n", "guest reset"],
  ["x\n[    3.1] reboot: Power down\n", "guest powered off"],
  ["[    3.1] reboot: Power down\nlogin: \nhello\nthere\n", "lost"],
  ["[    1.0] Kernel panic - not syncing: oh\n", "guest panicked"],
  ["", "lost"],
] as const)("a console that ends with %p means %s", (tail, reason) => expect(endOf(tail)).toBe(reason))

test("wait statuses", () => {
  expect(decodeStatus(0x300)).toEqual({ code: 3, signal: null })
  expect(decodeStatus(9)).toEqual({ code: null, signal: "SIGKILL" })
  expect(decodeStatus(0x8b)).toEqual({ code: null, signal: "SIGSEGV" })
})

test("of a zombie /proc tells the status; of another process at its pid it does not", () => {
  const fields = (state: string, start: number) =>
    `77 (a ) b) ${state} ${Array.from({ length: 49 }, (_, at) => (at === 18 ? start : at === 48 ? 1280 : 0)).join(" ")}\n`
  expect(parseZombieStatus(fields("Z", 5), 5)).toBe(1280)
  expect(parseZombieStatus(fields("S", 5), 5)).toBeUndefined()
  expect(parseZombieStatus(fields("Z", 6), 5)).toBeUndefined()
  expect(parseZombieStatus("", 5)).toBeUndefined()
})

test("lines are followed through cuts, a new name and a name that comes late", () => {
  const path = join(directory.path, "lines")
  const lines = followLines(path)
  expect(lines.take()).toEqual([])
  writeFileSync(path, "one\ntw")
  expect(lines.take()).toEqual(["one"])
  renameSync(path, `${path}.moved`)
  appendFileSync(`${path}.moved`, "o\n\nthree\n")
  expect(lines.take()).toEqual(["two", "three"])
})

test.each([
  ["ctrl-]", 29],
  ["ctrl-P", 16],
  ["CTRL-a", 1],
] as const)("%s is byte %d", (text, byte) => expect(controlKey(text)).toBe(byte))
test.each(["", "x", "ctrl-", "ctrl-é", "ctrl-pp"])("%p is no key", (text) => {
  expect(() => controlKey(text)).toThrow("is not a key with Ctrl")
})
