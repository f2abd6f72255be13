import { type Pointer, toArrayBuffer } from "bun:ffi"
import { expect, test } from "bun:test"
import { errnoName, errorCode, SyscallError } from "../../../src/base/linux/errors.ts"
import { openAt, statAt } from "../../../src/base/linux/files.ts"
import { AT_FDCWD, cPath, descriptor, word } from "../../../src/base/linux/guards.ts"
import { syscallNumber } from "../../../src/base/linux/numbers.ts"

function codeOf(work: () => unknown): string | undefined {
  try {
    work()
  } catch (error) {
    return errorCode(error)
  }
  return undefined
}

function bytesAt(address: Pointer, length: number): number[] {
  return [...new Uint8Array(toArrayBuffer(address, 0, length))]
}

test("a failed call names itself, its path and the reason", () => {
  const open = () => openAt(AT_FDCWD, "/nonexistent/file", 0)
  expect(open).toThrow("openat /nonexistent/file: ENOENT: No such file or directory")
  expect(open).toThrow(SyscallError)
})

test("errno is right 50,000 times in a row, with memory being allocated in between", () => {
  let wrong = 0
  for (let i = 0; i < 25_000; i++) {
    if (codeOf(() => openAt(AT_FDCWD, "/nonexistent", 0)) !== "ENOENT") wrong++
    if (codeOf(() => statAt(AT_FDCWD, "/etc/hostname/x")) !== "ENOTDIR") wrong++
  }
  expect(wrong).toBe(0)
})

test("errno is right in a worker thread too", async () => {
  const worker = new Worker(new URL("./errnoWorker.ts", import.meta.url))
  const { promise, resolve } = Promise.withResolvers<unknown>()
  worker.onmessage = ({ data }) => resolve(data)
  expect(await promise).toBe("ENOENT")
  worker.terminate()
})

test("an error number has the name that most people know", () => {
  expect([11, 95, 2, 18].map(errnoName)).toEqual(["EAGAIN", "EOPNOTSUPP", "ENOENT", "EXDEV"])
  expect(errnoName(9999)).toBe("E9999")
})

test("what the foreign function interface would bend is refused", () => {
  for (const fd of [Number.NaN, 1.5, -1, undefined as unknown as number])
    expect(() => descriptor(fd)).toThrow("not a file descriptor")
  expect(descriptor(AT_FDCWD)).toBe(-100)
  for (const value of [-1, 2 ** 32, 0.5]) expect(() => word("mode", value)).toThrow("mode out of range")
  expect(() => cPath("/etc/hostname\0.evil")).toThrow("NUL")
  expect(() => cPath("\ud800")).toThrow("surrogate")
  expect(() => cPath("")).toThrow("empty")
  expect(() => cPath("x".repeat(20_000))).toThrow("too long")
  expect(bytesAt(cPath("é"), 3)).toEqual([0xc3, 0xa9, 0])
  expect(bytesAt(cPath(new Uint8Array([0xff])), 2)).toEqual([0xff, 0])
  // Many paths of any length, one after the other: each is whole when it is used.
  for (let round = 0; round < 20_000; round++) {
    const path = "p".repeat((round * 37) % 4096) + round
    const address = cPath(path)
    cPath("another")
    if (round % 97 === 0) expect(bytesAt(address, path.length + 1)).toEqual([...Buffer.from(`${path}\0`)])
  }
})

test.each([
  ["openat2", 437, 437],
  ["pidfd_open", 434, 434],
  ["pidfd_send_signal", 424, 424],
  ["renameat2", 316, 276],
  ["statx", 332, 291],
  ["copy_file_range", 326, 285],
  ["memfd_create", 319, 279],
] as const)("%s is call %d on x86-64 and %d on arm64", (name, x64, arm64) => {
  expect([syscallNumber(name, "x64"), syscallNumber(name, "arm64")]).toEqual([x64, arm64])
  expect(() => syscallNumber(name, "riscv64")).toThrow("x64 and arm64")
})
