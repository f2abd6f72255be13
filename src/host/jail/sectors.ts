import { setLength } from "../../base/linux/content.ts"
import { statDescriptor } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"

/**
 * What a guest sees of a disk: whole sectors. Firecracker cuts a file to them (`DiskProperties` of 1.16's block device), QEMU
 * rounds up; here both show the same.
 */
const SECTOR_BYTES = 512

/** File systems give space by this much, so padding to it costs nothing. */
const BLOCK_BYTES = 4096

/** Whether a guest sees all of a disk of this many bytes. Pure. */
export function isWhole(bytes: number): boolean {
  return bytes % SECTOR_BYTES === 0
}

/** How many bytes a private file of this many is to have as a disk: those, unless they end within a sector. Pure. */
export function paddedBytes(bytes: number): number {
  return isWhole(bytes) ? bytes : Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES
}

/** Pads a file that is the VM's alone with zeros, so that a guest sees all of it. */
export function padToSectors(fd: number): void {
  const { size } = statDescriptor(fd)
  if (!isWhole(size)) setLength(fd, paddedBytes(size))
}

/** A disk image, and where it was named. */
export interface DiskImage {
  /** The setting or call that named it. */
  readonly setting: string
  readonly path: string
  readonly bytes: number
}

/** Throws a failure unless an image has content. Pure. */
export function requireContent({ setting, path, bytes }: DiskImage): void {
  if (bytes > 0) return
  const hint = "a disk needs a size: truncate -s SIZE makes one of zeros"
  throw new Failure("BAD_FILE", `${setting}: ${path} is empty`, { hint, subject: path })
}

/**
 * Throws a failure that says how to mend it unless a guest sees all of an image that the VM shares with others. `jailed`:
 * whether it could have a private copy instead. Pure.
 */
export function requireWhole(image: DiskImage, { jailed }: { readonly jailed: boolean }): void {
  requireContent(image)
  const { setting, path, bytes } = image
  if (isWhole(bytes)) return
  const words = `is no whole number of ${SECTOR_BYTES}-byte sectors: a guest would not see its last ${bytes % SECTOR_BYTES} bytes`
  const mend = `pad it with zeros: ${shellWords(["truncate", "-s", `%${SECTOR_BYTES}`, path])}`
  const hint = jailed ? `${mend}, or give the VM a padded copy: stage: "copy"` : mend
  throw new Failure("BAD_FILE", `${setting}: ${path} ${words}`, { hint, subject: path })
}
