import { chownDescriptor } from "../../base/linux/access.ts"
import { O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { ignoring, unlessAbsent } from "../../base/linux/errors.ts"
import { close, isType, openBeneath, openNamed, statDescriptor, unlinkAt, verified } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { type CopyOptions, copyContent } from "../../store/files/copyContent.ts"

/** A name in an open directory. */
export interface Entry {
  readonly dir: number
  readonly name: string
}

const signal = new AbortController().signal

/**
 * Opens a file of the jail that nothing else is to see: a regular one with a single name, which it then has no more. Throws a
 * failure for any other. The caller closes it.
 */
export function takeFile({ dir, name }: Entry): number {
  return verified(openBeneath(dir, name, O.RDONLY | O.NONBLOCK | O_NOFOLLOW), (fd) => {
    requireOwn(fd, name)
    unlinkAt(dir, name)
  })
}

/** Removes a file of the jail that may not be there. */
export function dropFile({ dir, name }: Entry): void {
  ignoring(["ENOENT"], () => unlinkAt(dir, name))
}

/** Copies an open file to a new one of a snapshot's directory. */
export async function copyTo(from: number, target: Entry, options: Pick<CopyOptions, "zeros"> = {}): Promise<void> {
  const to = openBeneath(target.dir, target.name, O.WRONLY | O.CREAT | O.EXCL | O_NOFOLLOW, 0o644)
  try {
    await copyContent(from, to, { signal, ...options })
  } finally {
    close(to)
  }
}

/**
 * Copies a disk out of the jail, unless it is a block device, whose content is the host's and stays there. Throws a failure for
 * a symlink, or a file that has another name too.
 */
export async function copyDisk({ dir, name }: Entry, target: Entry): Promise<void> {
  const from = openBeneath(dir, name, O.RDONLY | O.NONBLOCK | O_NOFOLLOW)
  try {
    if (isType(statDescriptor(from), S.IFBLK)) return
    requireOwn(from, name)
    await copyTo(from, target)
  } finally {
    close(from)
  }
}

/** Copies a file of the host into the jail, for the jail's owner; returns its length. */
export async function copyIn(path: string, { dir, name }: Entry): Promise<number> {
  const from = unlessAbsent(() => openNamed(path, O.RDONLY | O.NONBLOCK))
  if (from === undefined) throw new Failure("BAD_FILE", `there is no file ${path}`, { subject: path })
  try {
    if (!isType(statDescriptor(from), S.IFREG))
      throw new Failure("BAD_FILE", `${path} is not a regular file`, { subject: path })
    const to = openBeneath(dir, name, O.WRONLY | O.CREAT | O.EXCL | O_NOFOLLOW, 0o600)
    try {
      await copyContent(from, to, { signal })
      const { uid, gid } = statDescriptor(dir)
      chownDescriptor(to, uid, gid)
    } finally {
      close(to)
    }
    return statDescriptor(from).size
  } finally {
    close(from)
  }
}

// --- internal ---

function requireOwn(fd: number, name: string): void {
  const stat = statDescriptor(fd)
  if (isType(stat, S.IFREG) && stat.nlink === 1) return
  throw new Failure("CHANGED", `${name} in the jail is not a file of its own`, { subject: name })
}
