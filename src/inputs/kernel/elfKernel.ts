import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { chmodDescriptor } from "../../base/linux/access.ts"
import { O } from "../../base/linux/constants.ts"
import { readAll, readStart, sync, writeAll } from "../../base/linux/content.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { openNamed, statPath, withDescriptor } from "../../base/linux/files.ts"
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
  const image = withDescriptor(openNamed(path, O.RDONLY | O.NONBLOCK), (fd) => {
    const start = readStart(fd, 4)
    const isElf = Buffer.from(start).toString("latin1") === "\x7fELF"
    return isElf ? undefined : Buffer.concat([start, readAll(fd, KERNEL_MAX_BYTES)])
  })
  if (image === undefined) return path
  const sha256 = new Bun.CryptoHasher("sha256").update(image).digest("hex")
  const unpacked = join(cache, `${sha256}.vmlinux`)
  if (unlessAbsent(() => statPath(unpacked)) !== undefined) return unpacked
  const vmlinux = await unpack(path, new Uint8Array(image))
  mkdirSync(cache, { recursive: true, mode: 0o711 })
  replaceFileBy(unpacked, (fd) => {
    writeAll(fd, vmlinux)
    // Jails bind it: their uids read it.
    chmodDescriptor(fd, 0o644)
    sync(fd)
  })
  return unpacked
}

// --- internal ---

async function unpack(path: string, image: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  try {
    const { extractVmlinux } = await import("./vmlinux.ts")
    return extractVmlinux(image)
  } catch (error) {
    const { code, hint, message } = asFailure(error, "BAD_FILE")
    throw new Failure(code, `kernel: ${path}: ${message}`, { hint, subject: path, cause: error })
  }
}
