import { O, S } from "../../base/linux/constants.ts"
import { seek, setLength, writeAll } from "../../base/linux/content.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { close, isType, openNamed, statDescriptor, verified } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { copyContent } from "../files/copyContent.ts"
import { formatOf, type NamedImage, notRaw, requireRaw } from "../files/diskFormat.ts"
import { convertQcow2, type OnProgress, qcow2Bytes } from "./convert.ts"
import { wholeBytes } from "./planDisk.ts"

/** An image of the host, open. */
export interface Image extends Disposable {
  readonly fd: number
  readonly path: string
  readonly format: ImageName["format"]
  /** Of the disk that it is. */
  readonly bytes: number
}

/** An image as the user named it. */
export interface ImageName extends NamedImage {
  /** Undefined: raw, and what begins as another format does is refused. */
  readonly format?: "raw" | "qcow2" | undefined
}

/** Opens an image that the user named. Throws BAD_FILE for one that is empty, no regular file, or of another format. */
export function openImage(named: ImageName): Image {
  const { path, format } = named
  const bad = (words: string, hint?: string) => new Failure("BAD_FILE", `${path} ${words}`, { hint, subject: path })
  const opened = unlessAbsent(() => openNamed(path, O.RDONLY | O.NONBLOCK), ["ENOENT", "ENOTDIR"])
  if (opened === undefined) throw new Failure("BAD_FILE", `there is no file ${path}`, { subject: path })
  let bytes = 0
  const fd = verified(opened, (image) => {
    const stat = statDescriptor(image)
    if (!isType(stat, S.IFREG)) throw bad("is not a regular file")
    if (stat.size === 0) throw bad("is empty", "a disk needs a size: truncate -s SIZE makes one of zeros")
    if (format === undefined) requireRaw(image, named)
    bytes = format === "qcow2" ? qcow2Bytes(image, path) : stat.size
  })
  return { fd, path, format, bytes, [Symbol.dispose]: () => close(fd) }
}

/** Fills a new file with the disk that an image is: blocks are shared where they can be, holes stay holes. */
export async function copyImage(
  { fd, path, format }: Pick<Image, "fd" | "path" | "format">,
  to: number,
  how: { readonly signal: AbortSignal; readonly onProgress?: OnProgress | undefined },
): Promise<void> {
  if (format === "qcow2") await convertQcow2({ fd, path }, to, how)
  else await copyContent(fd, to, how)
}

/**
 * Fills a new file with what comes, and makes holes of what is zero. Returns how many bytes that were. Throws BAD_FILE for what
 * begins as no raw image.
 */
export async function writeStream(to: number, stream: AsyncIterable<Uint8Array>): Promise<number> {
  let at = 0
  for await (const chunk of stream) {
    const format = at === 0 ? formatOf(chunk) : undefined
    if (format !== undefined) throw notRaw(format, { path: "what was given" })
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

function isZero(part: Uint8Array): boolean {
  return ZEROS.compare(part, 0, part.length, 0, part.length) === 0
}
