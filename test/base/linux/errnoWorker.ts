import { errorCode } from "../../../src/base/linux/errors.ts"
import { openAt } from "../../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../../src/base/linux/guards.ts"

try {
  openAt(AT_FDCWD, "/nonexistent", 0)
} catch (error) {
  postMessage(errorCode(error))
}
