import { Failure } from "../../base/terms/failure.ts"
import { formatExactSize, formatSize } from "../../base/terms/quantity.ts"

/** What a plugin, or a command, wants a disk to be. */
export interface DiskWish {
  readonly name: string
  /** Undefined: as it is. */
  readonly sizeBytes: number | undefined
  /** How many bytes the image has that it is first made from; undefined: it is made empty. */
  readonly imageBytes: number | undefined
  /** What named it, for the failure: `drives[0]`. */
  readonly setting: string
}

/** What becomes of a disk. */
export type DiskPlan =
  | { readonly is: "make"; readonly bytes: number }
  | { readonly is: "grow"; readonly bytes: number }
  | { readonly is: "keep"; readonly bytes: number }

/**
 * What is to be done for a disk, of which there is none or one of so many bytes: it is made, it grows, or it stays. Throws
 * BAD_PLUGIN where it has no size to be made with, and where it would have to shrink. Pure.
 */
export function planDisk({ name, sizeBytes, imageBytes, setting }: DiskWish, present: number | undefined): DiskPlan {
  const refused = (message: string, hint: string) => new Failure("BAD_PLUGIN", message, { hint, subject: name })
  if (present !== undefined) {
    if (sizeBytes === undefined || sizeBytes === present) return { is: "keep", bytes: present }
    if (sizeBytes > present) return { is: "grow", bytes: sizeBytes }
    const message = `${setting}.size: the disk ${name} has ${formatSize(present)} already, and never shrinks to ${formatSize(sizeBytes)}`
    throw refused(message, `leave size out, or write at least ${formatExactSize(present)}`)
  }
  const image = imageBytes === undefined ? undefined : wholeBytes(imageBytes)
  if (sizeBytes === undefined && image === undefined)
    throw refused(
      `${setting}: there is no disk ${name} yet, and it has no size to be made with`,
      'add one: size: "10G"; or a path: the image to make it from',
    )
  if (sizeBytes !== undefined && image !== undefined && sizeBytes < image)
    throw refused(
      `${setting}.size: ${formatSize(sizeBytes)} is less than the ${formatSize(image)} of the image that the disk ${name} is made from`,
      "write a larger one, or leave it out",
    )
  return { is: "make", bytes: sizeBytes ?? image ?? 0 }
}

/** As many bytes, up to a whole sector: a guest sees no others. Pure. */
export function wholeBytes(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES
}

// --- internal ---

const SECTOR_BYTES = 512
