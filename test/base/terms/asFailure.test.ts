import { expect, test } from "bun:test"
import { SyscallError } from "../../../src/base/linux/errors.ts"
import { asFailure, Failure, failureJson } from "../../../src/base/terms/failure.ts"

const refused = (code: string, syscall?: string) =>
  Object.assign(new Error(`${code}: mkdir '/run/x'`), { code, ...(syscall !== undefined && { syscall }) })

test.each([
  ["ENOSPC", "df -i"],
  ["EDQUOT", "quota"],
  ["EROFS", "read-only"],
  ["SQLITE_FULL", "df"],
])("%s of whatever call is NO_SPACE, with what to do", (code, hint) => {
  for (const error of [refused(code), refused(code, "mkdir"), refused(code, "write"), refused(code, "openat2")]) {
    for (const failure of [asFailure(error), failureJson(error).error])
      expect(failure).toMatchObject({ code: "NO_SPACE", message: error.message, exit: 1 })
    expect(asFailure(error)).toMatchObject({ hint: expect.stringContaining(hint), cause: error })
    // What is known better stays so.
    expect(asFailure(error, "NOT_RELEASED").code).toBe("NOT_RELEASED")
    const own = new Failure("START_FAILED", "it did not start", { cause: error })
    expect(asFailure(own)).toBe(own)
  }
})

test("an error of our own calls is known as one of Node's", () => {
  const full = 28
  expect(asFailure(new SyscallError("mkdirat", full, "no space left on device", "x")).code).toBe("NO_SPACE")
})

test.each(["move_mount", "unshare", "inotify_add_watch", "watch", "RTM_NEWLINK", "epoll_ctl", "ioctl", "send"])(
  "that %s has no room is not about a disk",
  (syscall) => {
    expect(asFailure(refused("ENOSPC", syscall)).code).toBe("FAILED")
    expect(failureJson(refused("ENOSPC", syscall)).error.code).toBe("INTERNAL")
  },
)

test("another error is what its thrower says, or a fault of ours", () => {
  for (const code of ["EACCES", "EFBIG", "ENOMEM", "SQLITE_CORRUPT", "toString"]) {
    expect(asFailure(refused(code)).code).toBe("FAILED")
    expect(failureJson(refused(code)).error.code).toBe("INTERNAL")
  }
  for (const thrown of ["ENOSPC", undefined, null, { code: "ENOSPC" }]) expect(asFailure(thrown).code).toBe("FAILED")
})
