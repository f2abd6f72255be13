import { expect, test } from "bun:test"
import { Failure, isFailure, messageOf, usageError } from "../../../src/base/terms/failure.ts"
import { failureLine, messageLine, readMessage } from "../../../src/base/terms/message.ts"
import { nearest } from "../../../src/base/terms/nearest.ts"
import { listed } from "../../../src/base/terms/printable.ts"
import { formatDuration, formatSize, parseDuration, parseSize } from "../../../src/base/terms/quantity.ts"
import { shellWords } from "../../../src/base/terms/shell.ts"

test.each([
  ["256M", 268435456],
  ["1.5G", 1610612736],
  ["64KiB", 65536],
  ["4096", 4096],
  ["2 GB", 2147483648],
  ["lots", undefined],
  ["-1M", undefined],
  ["1e9", undefined],
  ["", undefined],
  ["9999999T", undefined],
  ["0.3B", undefined],
] as const)("the size %p is %p bytes", (text, bytes) => expect(parseSize(text)).toBe(bytes as number))

test.each([
  ["500ms", 500],
  ["10s", 10_000],
  ["1.5m", 90_000],
  ["2h", 7_200_000],
  ["1d", 86_400_000],
  ["10", undefined],
  ["s", undefined],
  ["-1s", undefined],
  ["1 week", undefined],
] as const)("the time %p is %p ms", (text, ms) => expect(parseDuration(text)).toBe(ms as number))

test("sizes and times are shown as they are typed", () => {
  for (const text of ["256M", "1.5G", "64K", "2T"]) expect(formatSize(parseSize(text) ?? 0)).toBe(text)
  for (const text of ["500ms", "10s", "1.5m", "2h"]) expect(formatDuration(parseDuration(text) ?? 0)).toBe(text)
})

const KEYS = ["memory", "kernel", "initrd", "vcpus", "drives", "network"]
test.each([
  ["memmory", "memory"],
  ["Kernel", "kernel"],
  ["vcpu", "vcpus"],
  ["dirves", "drives"],
  ["netwrok", "network"],
  ["xyz", undefined],
  ["bootloader", undefined],
] as const)("%s most likely means %s", (word, meant) => expect(nearest(word, KEYS)).toBe(meant as string))

test("a failure is told from a fault of ours, also one of another copy of the module", () => {
  expect(isFailure(usageError("wrong", { subject: "--x" }))).toBe(true)
  expect(isFailure({ [Symbol.for("banger.failure")]: true })).toBe(true)
  expect(isFailure(new Error("ours"))).toBe(false)
  expect(isFailure(null)).toBe(false)
  expect(usageError("wrong", { subject: "--x" }).exit).toBe(2)
  expect(new Failure("FAILED", "went wrong").exit).toBe(1)
})

test("anything thrown has a reason", () => {
  expect(messageOf(new Error("why"))).toBe("why")
  expect(messageOf(new TypeError(""))).toBe("TypeError")
  expect(messageOf("text")).toBe("text")
  expect(messageOf({ a: 1 })).toContain("a: 1")
  expect(messageOf(undefined)).toBe("undefined")
})

test("a command line is shown as a shell would take it", () => {
  const argv = ["/bin/x", "plain-1,a=b", "two words", "it's", "", "$HOME"]
  const shown = shellWords(argv)
  expect(Bun.spawnSync(["sh", "-c", `printf '%s\\n' ${shown}`]).stdout.toString()).toBe(`${argv.join("\n")}\n`)
})

test("a message is a line of JSON, whatever it says, and another banger reads it", () => {
  const message = 'a\nb\u001b[31m\u009b\u007f\u2028\u2029"\ud800'
  const line = messageLine("warn", message)
  expect(line).toMatch(/^[\x20-\x7e]*$/)
  expect(JSON.parse(line)).toEqual({ log: { level: "warn", message } })
  expect(readMessage(line)).toEqual({ level: "warn", message })
})

test("a failure is a line of JSON, and another banger reads it with all that it carries", () => {
  const failure = new Failure("INTERRUPTED", "stopped\nby you", { hint: "again", subject: "web", exit: 143 })
  const read = readMessage(failureLine(failure))
  expect(read).toBeInstanceOf(Failure)
  expect(read).toMatchObject({
    code: "INTERRUPTED",
    message: "stopped\nby you",
    hint: "again",
    subject: "web",
    exit: 143,
  })
  expect(JSON.parse(failureLine(new TypeError("oops")))).toEqual({
    error: { code: "INTERNAL", message: "oops", exit: 1 },
  })
  expect(JSON.parse(failureLine(new TypeError("oops"), { stack: true })).error.stack).toContain("    at ")
})

test.each([
  "",
  "plain words",
  "{",
  "{}",
  '{"log":1}',
  '{"log":{"level":"loud","message":"x"}}',
  '{"error":{"code":"E","message":"x"}}',
])("%j is no message of a banger", (line) => expect(readMessage(line)).toBeUndefined())

test("words are listed in one short line, however many there are and whatever is in them", () => {
  expect(listed([])).toBe("none")
  expect(listed(["a", "b"])).toBe("a, b")
  const many = Array.from({ length: 31 }, (_, at) => `c${at}`)
  expect(listed(many.slice(0, 10))).toBe(many.slice(0, 10).join(", "))
  expect(listed(many)).toBe(`${many.slice(0, 10).join(", ")} and 21 more`)
  expect(listed(many, 2)).toBe("c0, c1 and 29 more")
  expect(listed(["a\nb", "\u001b[31m", "x".repeat(1000)])).toBe(`a\\nb, \\x1b[31m, ${"x".repeat(64)}`)
})
