import { mkdirSync } from "node:fs"
import { dirname } from "node:path"
import { chmodDescriptor } from "../../base/linux/access.ts"
import { O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { errorCode, isDiskFull } from "../../base/linux/errors.ts"
import { isType, openAt, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure, isFailure, limitHint, messageOf } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"
import { trustedWay } from "./trustedWay.ts"

/**
 * Makes a directory of ours, or checks it: owned by this user, and no more open than `mode`. Returns its real path: symlinks of
 * root's and this user's are resolved once. Before anything is made the whole way to it is looked at (`trustedWay`). Missing parents are made 0755 cut by the umask. A looser
 * directory is tightened when banger chose its name (`ours`). One that the user named is refused instead: a mistyped
 * variable must not change the mode of `/srv`.
 */
export function ensurePrivateDirectory(path: string, mode: number, ours: boolean): string {
  const { real, created } = makeDirectory(path, mode)
  withDescriptor(openAt(AT_FDCWD, real, O.PATH | O_NOFOLLOW), (fd) => makePrivate(fd, real, mode, { created, ours }))
  return real
}

// --- internal ---

function makePrivate(
  fd: number,
  real: string,
  mode: number,
  { created, ours }: { created: boolean; ours: boolean },
): void {
  const stat = statDescriptor(fd)
  const refuse = (why: string, hint: string) => {
    throw new Failure("UNTRUSTED", `${real} ${why}`, { hint, subject: real })
  }
  if (!isType(stat, S.IFDIR)) refuse("is not a directory", "move it away")
  const uid = process.geteuid?.() ?? 0
  if (stat.uid !== uid) {
    const hint = OTHERS
    refuse(`belongs to uid ${stat.uid}, not to you (uid ${uid})`, hint)
  }
  const looser = (stat.mode & 0o777 & ~mode) !== 0
  if (looser && !created && !ours) {
    const hint = `name a directory of its own, or run: ${shellWords(["chmod", (mode & 0o777).toString(8), real])}`
    refuse(`is open to other users (mode ${(stat.mode & 0o7777).toString(8)})`, hint)
  }
  const wanted = (stat.mode & mode & 0o777) | (mode & 0o1000)
  if ((created || ours || looser) && (stat.mode & 0o7777) !== wanted) chmodDescriptor(fd, wanted)
}

/** Makes a directory that is missing, and its parents. Returns its real path, and whether it was missing. */
function makeDirectory(path: string, mode: number): { real: string; created: boolean } {
  try {
    const { real, missing } = trustedWay(path)
    if (missing > 1) {
      mkdirSync(dirname(real), { recursive: true, mode: 0o755 })
      // In a directory like /tmp another user may have made one of them meanwhile.
      trustedWay(real)
    }
    return { real, created: missing > 0 && makeMissing(real, mode) }
  } catch (error) {
    // A limit of this process says nothing of the place.
    if (isFailure(error) || limitHint(error) !== undefined) throw error
    const full = isDiskFull(error)
    const message = full
      ? `${path} cannot be made: ${messageOf(error)}`
      : `${path} is no place for this user's VMs: ${messageOf(error)}`
    throw new Failure(full ? "NO_SPACE" : "BAD_CONFIG", message, {
      hint: full ? `make room there: ${shellWords(["df", dirname(path)])}; or ${OTHERS}` : OTHERS,
      subject: path,
      cause: error,
    })
  }
}

/** What to do where the directory cannot be used; whoever asks for it knows by which variable. */
const OTHERS = "use another place"

/** False when it exists. */
function makeMissing(path: string, mode: number): boolean {
  try {
    mkdirSync(path, { mode: mode & 0o777 })
    return true
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error
    return false
  }
}
