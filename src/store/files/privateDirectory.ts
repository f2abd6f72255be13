import { mkdirSync, realpathSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { chmodDescriptor } from "../../base/linux/access.ts"
import { O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { isType, openAt, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure } from "../../base/terms/failure.ts"

/**
 * Makes a directory of ours, or checks it: owned by this user, not a symlink, and no more open than `mode`. Returns its
 * real path: symlinks above it (`/var/run`) are resolved once. Missing parents are made 0755 cut by the umask. A looser
 * directory is tightened when banger chose its name (`ours`). One that the user named is refused instead: a mistyped
 * variable must not change the mode of `/srv`.
 */
export function ensurePrivateDirectory(path: string, mode: number, ours: boolean): string {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
  const real = join(realpathSync(dirname(path)), basename(path))
  const created = makeDirectory(real, mode)
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
  if (isType(stat, S.IFLNK)) refuse("is a symlink", "name the directory it points to")
  if (!isType(stat, S.IFDIR)) refuse("is not a directory", "move it away")
  const uid = process.geteuid?.() ?? 0
  if (stat.uid !== uid) {
    const hint = "set BANGER_STATE_DIR and BANGER_RUNTIME_DIR to directories of your own"
    refuse(`belongs to uid ${stat.uid}, not to you (uid ${uid})`, hint)
  }
  const looser = (stat.mode & 0o777 & ~mode) !== 0
  if (looser && !created && !ours) {
    const hint = `name a directory of its own, or run: chmod ${(mode & 0o777).toString(8)} ${real}`
    refuse(`is open to other users (mode ${(stat.mode & 0o7777).toString(8)})`, hint)
  }
  const wanted = (stat.mode & mode & 0o777) | (mode & 0o1000)
  if ((created || ours || looser) && (stat.mode & 0o7777) !== wanted) chmodDescriptor(fd, wanted)
}

/** Makes a directory; false when it exists. */
function makeDirectory(path: string, mode: number): boolean {
  try {
    mkdirSync(path, { mode: mode & 0o777 })
    return true
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error
    return false
  }
}
