import { dirname, resolve } from "node:path"
import { ownEnvironment } from "../../base/linux/environment.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { Failure, isFailure, messageOf } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"
import { trustOf } from "../../inputs/plugin/trust.ts"
import { trustedWay } from "../../store/files/trustedWay.ts"

/**
 * Throws a failure where a snapshot cannot be made: somebody but root, this user and who asked by sudo could put another directory in its
 * place while it is written, or what it is to be in is not there. Nothing is made.
 */
export function requireNewPlace(dir: string): void {
  const { missing } = trustedWay(dir, { owners: owners() })
  if (missing < 2) return
  const parent = dirname(dir)
  const hint = `make it first: ${shellWords(["mkdir", "-p", parent])}`
  throw new Failure("BAD_FILE", `there is no directory ${parent}`, { hint, subject: parent })
}

/**
 * Throws a failure for the directory of a snapshot in which somebody else could swap what root hands to a VM: a disk there may be a
 * symlink to any file of the host. One that is not there is told of by who reads it.
 */
export function requireOwnPlace(dir: string, role: string): void {
  try {
    trustedWay(resolve(dir), { owners: owners(), end: true })
  } catch (error) {
    if (!isFailure(error)) {
      if (["ENOENT", "ENOTDIR"].includes(errorCode(error) ?? "")) return
      throw new Failure("BAD_FILE", `${role}: ${messageOf(error)}`, { subject: dir, cause: error })
    }
    const { code, message, hint, subject } = error
    throw new Failure(code, `${role}: ${message}`, { hint, subject, cause: error })
  }
}

// --- internal ---

/** Who asked by sudo can have root run their plugins. */
function owners(): readonly number[] {
  return trustOf(process.geteuid?.() ?? 0, ownEnvironment().SUDO_UID).uids ?? []
}
