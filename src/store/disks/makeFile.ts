import { O, O_NOFOLLOW, O_TMPFILE } from "../../base/linux/constants.ts"
import { sync } from "../../base/linux/content.ts"
import { errorCode, ignoring, isDiskFull } from "../../base/linux/errors.ts"
import {
  close,
  linkDescriptor,
  openAt,
  openBeneath,
  renameAt,
  renameNoReplace,
  unlinkAt,
} from "../../base/linux/files.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"

/** Where a file is to be. */
export interface NewFile {
  /** Its directory, open for reading. */
  readonly dir: number
  readonly name: string
  /** The directory's path, for the failure. */
  readonly path: string
  /** Whether it may take the place of another. */
  readonly replace?: boolean
}

/**
 * Makes a file (0600) that has its name only once `fill` is done and all of it is on the disk: a process that is killed
 * meanwhile leaves nothing, since the file had no name (or, where the file system has no such files, a temporary one of which
 * a sweep knows). Throws BAD_FILE where the name is taken, NO_SPACE where there was no room.
 */
export async function makeFile(file: NewFile, fill: (fd: number) => Promise<void>): Promise<void> {
  const { dir, path } = file
  const { fd, named } = openNew(file)
  let placed = false
  try {
    await fill(fd)
    sync(fd)
    place(file, fd, named)
    placed = true
    sync(dir)
  } catch (error) {
    if ((named || file.replace === true) && !placed) ignoring(["ENOENT"], () => unlinkAt(dir, temporary(file)))
    if (!isDiskFull(error)) throw error
    throw new Failure("NO_SPACE", `${path} has no room: ${messageOf(error)}`, {
      hint: "make room there",
      subject: path,
      cause: error,
    })
  } finally {
    close(fd)
  }
}

// --- internal ---

/** File systems that have no files without a name. */
const UNNAMED_UNKNOWN = ["EOPNOTSUPP", "EISDIR", "ENOENT", "EINVAL"]

/** As `removeAbandoned` and the sweep know temporary files. */
function temporary({ name }: NewFile): string {
  return `.${name}.${process.pid}.tmp`
}

function openNew(file: NewFile): { readonly fd: number; readonly named: boolean } {
  try {
    return { fd: openAt(file.dir, ".", O_TMPFILE | O.RDWR, 0o600), named: false }
  } catch (error) {
    if (!UNNAMED_UNKNOWN.includes(errorCode(error) ?? "")) throw error
    const fd = openBeneath(file.dir, temporary(file), O.RDWR | O.CREAT | O.EXCL | O_NOFOLLOW, 0o600)
    return { fd, named: true }
  }
}

function place(file: NewFile, fd: number, named: boolean): void {
  const { dir, name, replace = false } = file
  try {
    if (!named && !replace) linkDescriptor(fd, dir, name)
    else {
      if (!named) linkTemporary(file, fd)
      if (replace) renameAt(dir, temporary(file), dir, name)
      else renameNoReplace(dir, temporary(file), dir, name)
    }
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error
    const subject = `${file.path}/${name}`
    throw new Failure("BAD_FILE", `${subject} is there already`, { hint: "choose another name", subject, cause: error })
  }
}

/** A link cannot take the place of another file, as a rename can. One of that name is a crash's, of a process with this pid. */
function linkTemporary(file: NewFile, fd: number): void {
  ignoring(["ENOENT"], () => unlinkAt(file.dir, temporary(file)))
  linkDescriptor(fd, file.dir, temporary(file))
}
