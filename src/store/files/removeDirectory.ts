import { basename, dirname } from "node:path"
import { O, O_DIRECTORY } from "../../base/linux/constants.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { openAt, statAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure } from "../../base/terms/failure.ts"
import { removeTree } from "./removeTree.ts"

/** Removes a directory with all that is in it, and proves it gone. Succeeds also when it, or its parent, is gone already. */
export function removeDirectory(dir: string): void {
  const parent = unlessAbsent(() => openAt(AT_FDCWD, dirname(dir), O.PATH | O_DIRECTORY))
  // The parent is gone (a reboot empties /run), and the directory with it.
  if (parent === undefined) return
  withDescriptor(parent, (fd) => {
    removeTree(fd, basename(dir))
    if (unlessAbsent(() => statAt(fd, basename(dir))) !== undefined)
      throw new Failure("NOT_RELEASED", `${dir} is still there after its removal`, {
        hint: "find who made it anew, then try again",
        subject: dir,
      })
  })
}
