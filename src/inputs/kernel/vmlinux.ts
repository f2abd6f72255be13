import { Failure } from "../../base/terms/failure.ts"
import { decompress, unpackerOf } from "./decompress.ts"

const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46]
const HEADER_MAGIC = "HdrS"

/**
 * The kernel as a plain ELF file, from the bzImage that packages ship. On x86-64 Firecracker takes nothing else. Throws a
 * failure for any other file.
 * Offsets: Documentation/arch/x86/boot.rst.
 */
export function extractVmlinux(bzImage: Uint8Array<ArrayBuffer>): Uint8Array {
  if (isElf(bzImage)) return bzImage
  const { offset, length } = payloadOf(bzImage)
  const payload = bzImage.slice(offset, offset + length)
  const isGzip = payload[0] === 0x1f && payload[1] === 0x8b
  // The kernel's build ends the payload with its unpacked size. In gzip that is part of the format, elsewhere it is not.
  const kernel = decompress(isGzip ? payload : payload.slice(0, -4))
  if (!isElf(kernel)) throw unknownPacking()
  return kernel
}

/** Where the payload of a bzImage is, by its first bytes. Throws a failure for any other file. Pure. */
export function payloadOf(head: Uint8Array): { readonly offset: number; readonly length: number } {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength)
  if (head.length < 0x250 || new TextDecoder().decode(head.subarray(0x202, 0x206)) !== HEADER_MAGIC) {
    throw new Failure("BAD_FILE", "the kernel is neither an ELF vmlinux nor an x86 bzImage", {
      hint: "name a vmlinux or a bzImage: banger get vmlinux-6.1 brings one",
    })
  }
  const setupSectors = view.getUint8(0x1f1) || 4
  const protectedMode = (setupSectors + 1) * 512
  return { offset: protectedMode + view.getUint32(0x248, true), length: view.getUint32(0x24c, true) }
}

/** Throws a failure for a payload that cannot be unpacked here, by its first bytes: a program is missing, or it is of no known kind. */
export function requireUnpacking(start: Uint8Array): void {
  if (!isElf(start) && unpackerOf(start) === undefined) throw unknownPacking()
}

// --- internal ---

function unknownPacking(): Failure {
  const words = "the bzImage does not hold an ELF file: it is compressed in a way that banger does not know"
  return new Failure("BAD_FILE", words, { hint: "unpack it by the kernel's own scripts/extract-vmlinux" })
}

function isElf(data: Uint8Array): boolean {
  return ELF_MAGIC.every((byte, index) => data[index] === byte)
}
