import { basename, dirname, resolve } from "node:path"
import { O, O_DIRECTORY } from "../base/linux/constants.ts"
import { readInto } from "../base/linux/content.ts"
import { unlessAbsent } from "../base/linux/errors.ts"
import { close, openAt, openNamed, statDescriptor, withDescriptor } from "../base/linux/files.ts"
import { Failure } from "../base/terms/failure.ts"
import { copyImage, openImage, padDisk, writeStream } from "../store/disks/content.ts"
import { fileOf, openDisk, openPresentDisk } from "../store/disks/disks.ts"
import { makeFile } from "../store/disks/makeFile.ts"
import { removeAbandoned } from "../store/files/replaceFile.ts"
import type { State } from "../store/state/open.ts"
import { type ChangedDisk, present, withFreeDisk } from "./diskChange.ts"

/** How a disk is made of an image. */
export interface ImportOptions {
  /** Whether a disk of that name that is there goes; all of it, once the new one is whole. */
  readonly replace: boolean
  /** The bytes, instead of a file's. */
  readonly stream?: AsyncIterable<Uint8Array> | undefined
}

/**
 * Writes a disk's content to a new file (0600), whole or not at all; holes stay holes. Throws BAD_FILE where the file is there
 * already, or there is no such disk, and where somebody has the disk.
 */
export function exportDisk(state: State, name: string, file: string): Promise<ChangedDisk> {
  const path = resolve(file)
  return withFreeDisk(state, { name, what: "an export" }, async (disks) => {
    const from = openPresentDisk(disks, name, O.RDONLY)
    try {
      const dir = openDirectory(dirname(path))
      try {
        const target = { dir, name: basename(path), path: dirname(path) }
        await makeFile(target, (to) => copyImage({ fd: from, path: name, format: "raw" }, to, { signal }))
      } finally {
        close(dir)
      }
      return { name, path, sizeBytes: statDescriptor(from).size }
    } finally {
      close(from)
    }
  })
}

/** Hands a disk's content over piece by piece, zeros for its holes, until `take` tells that nobody reads any more. */
export function streamDisk(state: State, name: string, take: (piece: Uint8Array) => boolean): Promise<void> {
  return withFreeDisk(state, { name, what: "an export" }, (disks) =>
    withDescriptor(openPresentDisk(disks, name, O.RDONLY), (fd) => {
      const piece = new Uint8Array(PIECE_BYTES)
      for (let count = readInto(fd, piece); count > 0; count = readInto(fd, piece)) {
        if (take(piece.subarray(0, count))) continue
        const message = `nobody reads standard output any more: the disk ${name} was not written to its end`
        throw new Failure("INTERRUPTED", message, { exit: 128 + SIGPIPE, subject: name })
      }
    }),
  )
}

/**
 * Makes a disk of a raw image, whole or not at all: a process that is killed leaves what was there before. Holes stay holes; of a
 * stream, what is zero becomes one. Throws BAD_FILE where the disk is there already, unless it is to be replaced.
 */
export function importDisk(state: State, name: string, file: string, options: ImportOptions): Promise<ChangedDisk> {
  const { replace, stream } = options
  return withFreeDisk(state, { name, what: "an import" }, async (disks) => {
    const there = openDisk(disks, name, O.RDONLY)
    if (there !== undefined) close(there)
    if (there !== undefined && !replace) {
      const hint = `remove it first: banger disk rm ${name}; or add --replace`
      throw new Failure("BAD_FILE", `the disk ${name} is there already`, { hint, subject: name })
    }
    removeAbandoned(disks.path)
    const target = { dir: disks.fd, name: fileOf(name), path: disks.path, replace }
    await makeFile(target, async (to) => {
      if (stream === undefined) {
        using image = openImage({ path: resolve(file) })
        await copyImage(image, to, { signal })
      } else if ((await writeStream(to, stream)) === 0) {
        throw new Failure("BAD_FILE", "standard input is empty: a disk needs a size", { subject: name })
      }
      padDisk(to)
    })
    return present(disks, name)
  })
}

// --- internal ---

const signal = new AbortController().signal

const PIECE_BYTES = 1024 * 1024

/** What ends other programs then. */
const SIGPIPE = 13

function openDirectory(path: string): number {
  const named = unlessAbsent(() => openNamed(path, O.PATH | O_DIRECTORY), ["ENOENT", "ENOTDIR"])
  if (named === undefined) throw new Failure("BAD_FILE", `there is no directory ${path}`, { subject: path })
  return withDescriptor(named, (fd) => openAt(fd, ".", O.RDONLY | O_DIRECTORY))
}
