import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { chmodDescriptor } from "../../base/linux/access.ts"
import { O } from "../../base/linux/constants.ts"
import { readAll, readStart, seek, sync, writeAll } from "../../base/linux/content.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { close, openNamed, statPath, withDescriptor } from "../../base/linux/files.ts"
import { asFailure, Failure } from "../../base/terms/failure.ts"
import { replaceFileBy } from "../../store/files/replaceFile.ts"

// The room kernel: a guest's kernel as plain ELF, which is all that Firecracker starts.
// The rule: unpacked once, under the sha256 of what it came from.

/** A kernel is some ten megabytes; a larger file than this cannot be one. */
const KERNEL_MAX_BYTES = 512 * 1024 * 1024

/**
 * The path of a kernel as plain ELF, as Firecracker wants it on x86-64: the file itself, or what a bzImage holds,
 * unpacked once into `cache` under its sha256. Throws a failure that names the file when it is neither.
 */
export async function elfKernel(path: string, cache: string): Promise<string> {
  const image = packedImage(path)
  if (image === undefined) return path
  const unpacked = unpackedPath(image, cache)
  if (unlessAbsent(() => statPath(unpacked)) !== undefined) return unpacked
  const vmlinux = await unpack(path, image)
  mkdirSync(cache, { recursive: true, mode: 0o711 })
  replaceFileBy(unpacked, (fd) => {
    writeAll(fd, vmlinux)
    // Jails bind it: their uids read it.
    chmodDescriptor(fd, 0o644)
    sync(fd)
  })
  return unpacked
}

/**
 * Throws the failure that `elfKernel` would, where a look at the file's beginning tells that: no kernel, packed in a way that banger does
 * not know, or in one whose program this host lacks. Nothing is made.
 */
export async function requireElfKernel(path: string, cache: string): Promise<void> {
  const fd = openNamed(path, O.RDONLY | O.NONBLOCK)
  try {
    const head = readStart(fd, HEADER_BYTES)
    if (isElf(head)) return
    const { payloadOf, requireUnpacking } = await import("./vmlinux.ts")
    seek(fd, payloadOf(head).offset, SEEK_SET)
    requireUnpacking(readStart(fd, MAGIC_BYTES))
  } catch (error) {
    // One that was unpacked before needs no program.
    const image = asFailure(error).code === "HOST_LACKS" ? packedImage(path) : undefined
    if (image !== undefined && unlessAbsent(() => statPath(unpackedPath(image, cache))) !== undefined) return
    throw named(path, error)
  } finally {
    close(fd)
  }
}

// --- internal ---

const SEEK_SET = 0

/** What tells a bzImage, and where its payload is. */
const HEADER_BYTES = 0x250

/** The longest beginning by which a compression is known. */
const MAGIC_BYTES = 8

/** All of a kernel file that is no ELF. */
function packedImage(path: string): Uint8Array<ArrayBuffer> | undefined {
  return withDescriptor(openNamed(path, O.RDONLY | O.NONBLOCK), (fd) => {
    const start = readStart(fd, 4)
    return isElf(start) ? undefined : new Uint8Array(Buffer.concat([start, readAll(fd, KERNEL_MAX_BYTES)]))
  })
}

const isElf = (bytes: Uint8Array) => Buffer.from(bytes.subarray(0, 4)).toString("latin1") === "\x7fELF"

function unpackedPath(image: Uint8Array<ArrayBuffer>, cache: string): string {
  return join(cache, `${new Bun.CryptoHasher("sha256").update(image).digest("hex")}.vmlinux`)
}

async function unpack(path: string, image: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  try {
    const { extractVmlinux } = await import("./vmlinux.ts")
    return extractVmlinux(image)
  } catch (error) {
    throw named(path, error)
  }
}

function named(path: string, error: unknown): Failure {
  const { code, hint, message } = asFailure(error, "BAD_FILE")
  return new Failure(code, `kernel: ${path}: ${message}`, { hint, subject: path, cause: error })
}
