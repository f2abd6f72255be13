import { O } from "../../base/linux/constants.ts"
import { readStart } from "../../base/linux/content.ts"
import { openNamed, withDescriptor } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"
import { formatOf } from "../../store/files/diskFormat.ts"

/** What is to start a kernel. */
export interface KernelFor {
  readonly arch: "x64" | "arm64"
  readonly vmm: "firecracker" | "qemu"
}

/** Throws BAD_FILE, with what to do, for a kernel that begins as one which the VMM cannot start on this machine. */
export function requireKernel(path: string, what: KernelFor): void {
  const start = withDescriptor(openNamed(path, O.RDONLY | O.NONBLOCK), (fd) => readStart(fd, START_BYTES))
  const found = misfit(start, what)
  if (found === undefined) return
  const { is, hint } = found
  const takes = `${NAMES[what.vmm]} on ${MACHINES[what.arch]} starts ${TAKES[`${what.vmm} ${what.arch}`]}`
  throw new Failure("BAD_FILE", `kernel: ${path} begins as ${is}, and ${takes}`, { hint: hint(path), subject: path })
}

/**
 * What a kernel file is by its first bytes, where this VMM surely cannot start that on this machine; undefined: nothing says so.
 * Offsets: Documentation/arch/arm64/booting.rst, Documentation/arch/x86/boot.rst, elf(5). Pure.
 */
export function misfit(start: Uint8Array, { arch, vmm }: KernelFor): Misfit | undefined {
  const bytes = Buffer.from(start.buffer, start.byteOffset, start.length)
  const has = (text: string, at: number) => bytes.subarray(at, at + text.length).toString("latin1") === text
  const other = { hint: () => otherKernel(arch) }
  const packed = formatOf(start)
  if (packed !== undefined) {
    // QEMU unpacks what a build for arm64 leaves as Image.gz.
    if (packed.name === "gzip" && arch === "arm64" && vmm === "qemu") return undefined
    return { is: `a ${packed.name} file`, hint: (path) => `unpack it: ${packed.unpack(path)}` }
  }
  if (has("\x7fELF", 0) && bytes.length >= ELF_HEADER_BYTES) return elfMisfit(bytes, { arch, vmm })
  if (has("ARM\x64", 0x38) && arch === "x64") return { is: "an Image for arm64", ...other }
  if (has("MZ", 0) && has("zimg", 4) && !(arch === "arm64" && vmm === "qemu"))
    return {
      is: "an EFI image that unpacks itself (zboot)",
      hint: () => "name the Image, or vmlinux, that it was made of",
    }
  if (has("HdrS", 0x202) && arch === "arm64") return { is: "a bzImage for x86", ...other }
  if (has("070701", 0) || has("070702", 0))
    return { is: "a cpio archive", hint: () => "that is an initrd: give it as initrd, and a kernel as kernel" }
  return undefined
}

// --- internal ---

interface Misfit {
  readonly is: string
  readonly hint: (path: string) => string
}

/** What `misfit` looks at. */
const START_BYTES = 1024
const ELF_HEADER_BYTES = 20

const NAMES = { firecracker: "Firecracker", qemu: "QEMU" }
const MACHINES = { x64: "x86-64", arm64: "arm64" }
const TAKES: Readonly<Record<`${KernelFor["vmm"]} ${KernelFor["arch"]}`, string>> = {
  "firecracker x64": "a vmlinux or a bzImage",
  "qemu x64": "a vmlinux or a bzImage",
  "firecracker arm64": "an Image",
  "qemu arm64": "an Image, packed or not",
}

/** The kind of an ELF file that is none to run, and the names of machines (EM_…): elf(5). */
const ELF_KINDS = { relocatable: 1 }
const ELF_MACHINES: Readonly<Record<number, string>> = {
  3: "32-bit x86",
  8: "MIPS",
  20: "32-bit PowerPC",
  21: "PowerPC",
  22: "s390",
  40: "32-bit ARM",
  62: "x86-64",
  183: "arm64",
  243: "RISC-V",
  258: "LoongArch",
}
const OWN_MACHINE = { x64: 62, arm64: 183 }

function elfMisfit(bytes: Buffer, { arch, vmm }: KernelFor): Misfit | undefined {
  const bigEndian = bytes[5] === 2
  const machine = bigEndian ? bytes.readUInt16BE(18) : bytes.readUInt16LE(18)
  const kind = bigEndian ? bytes.readUInt16BE(16) : bytes.readUInt16LE(16)
  const hint = () => otherKernel(arch)
  if (machine !== OWN_MACHINE[arch])
    return { is: `an ELF file for ${ELF_MACHINES[machine] ?? `the machine ${machine}`}`, hint }
  if (kind === ELF_KINDS.relocatable) return { is: "a kernel module or object file", hint }
  if (arch === "arm64" && vmm === "firecracker")
    return {
      is: "an ELF file",
      hint: (path) => `make an Image of it: ${shellWords(["objcopy", "-O", "binary", path, `${path}.Image`])}`,
    }
  return undefined
}

function otherKernel(arch: KernelFor["arch"]): string {
  return `name a kernel that was built for ${MACHINES[arch]}: banger get vmlinux-6.1 brings one`
}
