import { errorCode } from "../../src/linux/errors.ts"
import { openAt } from "../../src/linux/files.ts"
import { AT_FDCWD } from "../../src/linux/guards.ts"

try {
  openAt(AT_FDCWD, "/nonexistent", 0)
} catch (error) {
  postMessage(errorCode(error))
}
