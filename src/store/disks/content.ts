import { O, S } from "../../base/linux/constants.ts"
import { readStart, seek, setLength, writeAll } from "../../base/linux/content.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { close, isType, openNamed, statDescriptor, verified } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { copyContent } from "../files/copyContent.ts"
import { wholeBytes } from "./planDisk.ts"

/** A raw image of the host, open. */
export interface Image extends Disposable {
  readonly fd: number
  readonly path: string
  readonly bytes: number
}

/** Opens a raw image that the user named. Throws BAD_FILE for one that is empty, no regular file, or of another format. */
export function openImage(path: string): Image {
  const bad = (words: string, hint?: string) => new Failure("BAD_FILE", `${path} ${words}`, { hint, subject: path })
  const named = unlessAbsent(() => openNamed(path, O.RDONLY | O.NONBLOCK), ["ENOENT", "ENOTDIR"])
  if (named === undefined) throw new Failure("BAD_FILE", `there is no file ${path}`, { subject: path })
  const fd = verified(named, (image) => {
    const stat = statDescriptor(image)
    if (!isType(stat, S.IFREG)) throw bad("is not a regular file")
    if (stat.size === 0) throw bad("is empty", "a disk needs a size: truncate -s SIZE makes one of zeros")
    if (isQcow(readStart(image, QCOW.length))) throw notRaw(path)
  })
  return { fd, path, bytes: statDescriptor(fd).size, [Symbol.dispose]: () => close(fd) }
}

/** Fills a new file with an image's content: blocks are shared where they can be, holes stay holes. */
export async function copyImage(
  { fd }: Pick<Image, "fd">,
  to: number,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  await copyContent(fd, to, { signal })
}

/**
 * Fills a new file with what comes, and makes holes of what is zero. Returns how many bytes that were. Throws BAD_FILE for what
 * begins as no raw image.
 */
export async function writeStream(to: number, stream: AsyncIterable<Uint8Array>): Promise<number> {
  let at = 0
  for await (const chunk of stream) {
    if (at === 0 && isQcow(chunk)) throw notRaw("what was given")
    for (let from = 0; from < chunk.length; ) {
      // Up to where a block of the file ends.
      const length = Math.min(chunk.length - from, BLOCK_BYTES - (at % BLOCK_BYTES))
      const part = chunk.subarray(from, from + length)
      if (isZero(part)) seek(to, length, SEEK_CUR)
      else writeAll(to, part)
      from += length
      at += length
    }
  }
  setLength(to, at)
  return at
}

/** Pads a new disk with zeros to whole sectors, or to so many bytes. */
export function padDisk(fd: number, bytes: number = statDescriptor(fd).size): void {
  const whole = wholeBytes(bytes)
  if (statDescriptor(fd).size !== whole) setLength(fd, whole)
}

// --- internal ---

const SEEK_CUR = 1

/** What file systems give space by. */
const BLOCK_BYTES = 64 * 1024
const ZEROS = Buffer.alloc(BLOCK_BYTES)

/** QEMU's own format begins so. */
const QCOW = Buffer.from("QFI\xfb", "latin1")

function isZero(part: Uint8Array): boolean {
  return ZEROS.compare(part, 0, part.length, 0, part.length) === 0
}

function isQcow(start: Uint8Array): boolean {
  return start.length >= QCOW.length && QCOW.compare(start, 0, QCOW.length) === 0
}

function notRaw(path: string): Failure {
  const hint = "make a raw image of it: qemu-img convert -O raw FILE RAW"
  return new Failure("BAD_FILE", `${path} is a qcow2 image, and a disk is made of a raw one`, { hint, subject: path })
}
