import { readSync } from "node:fs"
import { Failure } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"

/** A format of disk images that is not raw, or of what packs one. */
export interface DiskFormat {
  readonly name: string
  /** What makes a raw image of such a file. Pure. */
  readonly unpack: (path: string) => string
}

/**
 * What begins so is no raw disk image. Undefined: nothing says that it is not one. A guest can write all of this to a disk of its
 * own: so it is reason to refuse a file, never to take it for what it says. Pure.
 */
export function formatOf(start: Uint8Array): DiskFormat | undefined {
  return FORMATS.find(({ magic, at = 0 }) => magic.every((byte, index) => start[at + index] === byte))
}

/** An image, and the setting that named it, where that may say `format`. */
export interface NamedImage {
  readonly setting?: string | undefined
  readonly path: string
}

/** Throws BAD_FILE, with what makes a raw image of it, for an open file of another format. */
export function requireRaw(fd: number, image: NamedImage): void {
  const start = new Uint8Array(START_BYTES)
  // From its beginning; its position stays.
  const format = formatOf(start.subarray(0, readSync(fd, start, 0, START_BYTES, 0)))
  if (format !== undefined) throw notRaw(format, image)
}

/** That a file is of another format than raw. Pure. */
export function notRaw({ name, unpack }: DiskFormat, { setting, path }: NamedImage): Failure {
  const make = `make a raw image of it: ${unpack(path)}`
  const hint = setting === undefined ? make : `${name === QCOW2 ? TAKES_QCOW2 : ""}${make}; ${IS_RAW}`
  const where = setting === undefined ? "" : `${setting}: `
  return new Failure("BAD_FILE", `${where}${path} begins as a ${name} file, and a disk is raw`, { hint, subject: path })
}

// --- internal ---

/** What `formatOf` looks at. */
const START_BYTES = 512

const QCOW2 = "qcow2"
const TAKES_QCOW2 = 'say format: "qcow2" beside its path, and banger converts it; or '
const IS_RAW = 'where a raw disk begins so: format: "raw"'

interface Known extends DiskFormat {
  readonly magic: readonly number[]
  readonly at?: number
}

const bytes = (text: string) => Array.from(Buffer.from(text, "latin1"))
const convert = (path: string) => shellWords(["qemu-img", "convert", "-O", "raw", path, `${path}.raw`])
const unpacked = (path: string) => path.replace(/\.(?:gz|zst|xz|bz2|lz4)$/, "")
const unpackBy = (program: string) => (path: string) =>
  `${shellWords([program, "-d", "-c", path])} > ${shellWords([unpacked(path) === path ? `${path}.raw` : unpacked(path)])}`

const FORMATS: readonly Known[] = [
  { name: QCOW2, magic: bytes("QFI\xfb"), unpack: convert },
  { name: "QED", magic: bytes("QED\0"), unpack: convert },
  { name: "VMDK", magic: bytes("KDMV"), unpack: convert },
  { name: "VMDK", magic: bytes("COWD"), unpack: convert },
  { name: "VMDK", magic: bytes("# Disk DescriptorFile"), unpack: convert },
  { name: "VHDX", magic: bytes("vhdxfile"), unpack: convert },
  { name: "VHD", magic: bytes("conectix"), unpack: convert },
  { name: "VDI", magic: [0x7f, 0x10, 0xda, 0xbe], at: 0x40, unpack: convert },
  { name: "gzip", magic: [0x1f, 0x8b, 0x08], unpack: unpackBy("gzip") },
  { name: "zstd", magic: [0x28, 0xb5, 0x2f, 0xfd], unpack: unpackBy("zstd") },
  { name: "xz", magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], unpack: unpackBy("xz") },
  { name: "bzip2", magic: bytes("BZh"), unpack: unpackBy("bzip2") },
  { name: "lz4", magic: [0x04, 0x22, 0x4d, 0x18], unpack: unpackBy("lz4") },
]
