import { expect, test } from "bun:test"
import { ignoring, SyscallError, unlessAbsent } from "../../../src/base/linux/errors.ts"

const failing = (error: unknown) => () => {
  throw error
}
const ENOENT = new SyscallError("openat", 2, "no such file", "gone")
const EACCES = new SyscallError("openat", 13, "permission denied", "closed")

test("what is not there is undefined, and what is there is returned", () => {
  expect(unlessAbsent(failing(ENOENT))).toBeUndefined()
  expect(unlessAbsent(failing(EACCES), ["ENOENT", "EACCES"])).toBeUndefined()
  expect(unlessAbsent(() => 0)).toBe(0)
})

test("every other error is thrown on: a file that cannot be looked at is not absent", () => {
  expect(() => unlessAbsent(failing(EACCES))).toThrow(EACCES)
  expect(() => unlessAbsent(failing(ENOENT), ["ESRCH"])).toThrow(ENOENT)
  expect(() => unlessAbsent(failing(new Error("ENOENT")))).toThrow("ENOENT")
})

test("an error with a code that was named means that nothing was to be done", () => {
  ignoring(["ENOENT"], failing(ENOENT))
  expect(() => ignoring(["ENOENT"], failing(EACCES))).toThrow(EACCES)
})
