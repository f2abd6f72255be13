import { readFileSync } from "node:fs"
import { join } from "node:path"
import { chmodDescriptor } from "../../base/linux/access.ts"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { readStart, seek, setLength, sync, writeAll } from "../../base/linux/content.ts"
import { errorCode } from "../../base/linux/errors.ts"
import {
  close,
  mkdirAt,
  openAt,
  openBeneath,
  renameAt,
  statDescriptor,
  unlinkAt,
  withDescriptor,
} from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure } from "../../base/terms/failure.ts"
import { takeNamedLock } from "../../store/files/lock.ts"
import { ensurePrivateDirectory } from "../../store/files/privateDirectory.ts"
import { syncDirectory } from "../../store/files/replaceFile.ts"
import { ensureState } from "../../store/state/open.ts"
import type { Places } from "../../store/state/places.ts"
import { type Address, shownAddress } from "../download/address.ts"
import { unpackFiles } from "../download/archive.ts"
import { download, type Manner, openRegular } from "../download/download.ts"
import { imagesDirectory, namesIn, partOf, removeNamed } from "./store.ts"

// An image has its name only once its sum was checked; before that it is a part, which another try continues.

/** What to get. */
export interface Wanted {
  readonly name: string
  readonly from: Address
  /** Undefined only for a file of this host, which is taken as it is. */
  readonly sha256: string | undefined
  readonly members?: Readonly<Record<string, string>> | undefined
}

/**
 * Gets an image: downloads it beside its place (resuming what an earlier try left), checks its sum, and only then gives it
 * its name. Returns its path, and whether it is new. Throws a failure that leaves an image of that name as it was.
 */
export async function getImage(where: Places, wanted: Wanted, manner: Manner): Promise<{ path: string; new: boolean }> {
  const dir = ensureImages(where)
  const path = join(dir, wanted.name)
  if (namesIn(dir).includes(wanted.name)) return asWanted(path, wanted)
  const fd = openPart(dir, wanted.name)
  try {
    // Another banger may have got it just before this one took the lock.
    if (namesIn(dir).includes(wanted.name)) return asWanted(path, wanted)
    await fill(fd, wanted, manner)
    await settle(dir, fd, wanted)
    syncDirectory(dir)
    return { path, new: true }
  } catch (error) {
    if (errorCode(error) !== "ENOSPC" && errorCode(error) !== "EDQUOT") throw error
    removeNamed(dir, partOf(wanted.name))
    const hint = `free some space: df ${dir}; banger get rm takes images away`
    const message = `no space is left in ${dir} for ${wanted.name}`
    throw new Failure("NO_SPACE", message, { hint, subject: wanted.name, cause: error })
  } finally {
    close(fd)
  }
}

// --- internal ---

/** A file is hashed in pieces of this size, in bytes. */
const PIECE_BYTES = 1024 * 1024

function ensureImages(where: Places): string {
  return ensurePrivateDirectory(imagesDirectory({ ...where, state: ensureState(where.state) }), 0o755, true)
}

/** An image that is here already. Throws a failure when its content is not what is wanted now. */
function asWanted(path: string, { name, from, sha256, members }: Wanted): { path: string; new: false } {
  // The sum is the archive's; files unpacked from it have none.
  if (members !== undefined) return { path, new: false }
  const wanted = sha256 ?? ("file" in from ? hashOfFile(from.file) : undefined)
  if (wanted === undefined || hashOfFile(path) === wanted) return { path, new: false }
  const hint = `to put this one in its place: banger get rm ${name}, then the same again`
  const message = `the image ${name} that is here is another one, or was changed: its sha256 is not ${wanted}`
  throw new Failure("CHANGED", message, { hint, subject: name })
}

function hashOfFile(path: string): string {
  return withDescriptor(openRegular(path), hashOf)
}

/** Opens and locks the file that an image is downloaded into. Throws when another banger gets this image. */
function openPart(dir: string, name: string): number {
  return withDescriptor(openAt(AT_FDCWD, dir, O.PATH | O_DIRECTORY), (parent) => {
    const fd = takeNamedLock(parent, partOf(name))
    if (fd !== undefined) return fd
    throw new Failure("BUSY", `another banger is getting ${name}`, {
      hint: "wait for it, then try again",
      subject: name,
    })
  })
}

async function fill(fd: number, { from, sha256 }: Wanted, manner: Manner): Promise<void> {
  const sink = {
    get length() {
      return statDescriptor(fd).size
    },
    write: (chunk: Uint8Array) => writeAll(fd, chunk),
    reset() {
      setLength(fd, 0)
      seek(fd, 0, 0)
    },
  }
  const begun = sink.length > 0
  if (sha256 !== undefined && begun && hashOf(fd) === sha256) return
  seek(fd, 0, 2)
  await download(from, sink, manner)
  if (sha256 === undefined || hashOf(fd) === sha256) return
  // The part that was there may have been of another file.
  sink.reset()
  if (begun) await download(from, sink, manner)
  const found = begun ? hashOf(fd) : undefined
  if (found === sha256) return
  setLength(fd, 0)
  const hint = "nothing was kept; if it comes from a mirror, the mirror has something else by that name"
  const subject = shownAddress(from)
  const message = `${subject} is not what it should be: its sha256 is not ${sha256}`
  throw new Failure("NOT_AUTHENTIC", message, { hint, subject })
}

function hashOf(fd: number): string {
  const hasher = new Bun.CryptoHasher("sha256")
  seek(fd, 0, 0)
  for (;;) {
    const piece = readStart(fd, PIECE_BYTES)
    if (piece.length === 0) return hasher.digest("hex")
    hasher.update(piece)
  }
}

/** Gives what was downloaded its name, whole and on disk. */
async function settle(dir: string, fd: number, { name, members }: Wanted): Promise<void> {
  const contents = members && (await unpackFiles(contentOf(fd), Object.values(members)))
  withDescriptor(openAt(AT_FDCWD, dir, O.RDONLY | O_DIRECTORY), (parent) => {
    if (members === undefined || contents === undefined) {
      // Jails bind it: their uids read it.
      chmodDescriptor(fd, 0o644)
      sync(fd)
      renameAt(parent, partOf(name), parent, name)
      return
    }
    const staged = `.${name}.dir`
    removeNamed(dir, staged)
    mkdirAt(parent, staged, 0o755)
    withDescriptor(openBeneath(parent, staged, O.RDONLY | O_DIRECTORY), (inner) => {
      chmodDescriptor(inner, 0o755)
      for (const [index, member] of Object.keys(members).entries())
        writeMember(inner, member, contents[index] ?? new Uint8Array())
      sync(inner)
    })
    unlinkAt(parent, partOf(name))
    renameAt(parent, staged, parent, name)
  })
}

function writeMember(dir: number, name: string, content: Uint8Array): void {
  withDescriptor(openAt(dir, name, O.WRONLY | O.CREAT | O.EXCL | O_NOFOLLOW, 0o700), (file) => {
    writeAll(file, content)
    chmodDescriptor(file, 0o755)
    sync(file)
  })
}

function contentOf(fd: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(`/proc/self/fd/${fd}`))
}
