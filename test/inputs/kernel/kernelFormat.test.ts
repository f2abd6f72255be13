import { expect, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Failure } from "../../../src/base/terms/failure.ts"
import { type KernelFor, misfit, requireKernel } from "../../../src/inputs/kernel/kernelFormat.ts"
import { bzImageWith } from "../../bzImage.ts"
import { eachInItsDirectory } from "../../temporary.ts"
import { tinyGuest } from "../../tinyGuest.ts"

const directory = eachInItsDirectory()

function failureOf(work: () => void): Failure {
  try {
    work()
  } catch (error) {
    return error as Failure
  }
  throw new Error("nothing was refused")
}

function elf(machine: number, { kind = 2, bigEndian = false } = {}): Buffer {
  const bytes = Buffer.alloc(64)
  bytes.write("\x7fELF", "latin1")
  bytes[5] = bigEndian ? 2 : 1
  if (bigEndian) bytes.writeUInt16BE(kind, 16)
  else bytes.writeUInt16LE(kind, 16)
  if (bigEndian) bytes.writeUInt16BE(machine, 18)
  else bytes.writeUInt16LE(machine, 18)
  return bytes
}

function at(offset: number, text: string, more: readonly [number, string] = [0, ""]): Buffer {
  const bytes = Buffer.alloc(1024)
  bytes.write(text, offset, "latin1")
  bytes.write(more[1], more[0], "latin1")
  return bytes
}

const KERNELS = {
  vmlinux: tinyGuest(),
  bzImage: Buffer.from(bzImageWith(new Uint8Array(600))),
  "arm64 Image": at(0x38, "ARM\x64", [0, "MZ"]),
  "arm64 vmlinux": elf(183),
  "s390 vmlinux": elf(22, { bigEndian: true }),
  "RISC-V vmlinux": elf(243),
  module: elf(62, { kind: 1 }),
  "Image.gz": Buffer.from(Bun.gzipSync("a kernel")),
  "vmlinux.zst": Buffer.from(Bun.zstdCompressSync("a kernel")),
  "vmlinux.xz": Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]),
  qcow2: at(0, "QFI\xfb"),
  initrd: at(0, "070701"),
  vmlinuz: at(4, "zimg", [0, "MZ"]),
  "what nobody knows": Buffer.from("x"),
} as const
const ANY = ["what nobody knows"]

test.each<[KernelFor["vmm"], KernelFor["arch"], readonly string[]]>([
  ["firecracker", "x64", ["vmlinux", "bzImage"]],
  ["qemu", "x64", ["vmlinux", "bzImage"]],
  ["firecracker", "arm64", ["arm64 Image"]],
  ["qemu", "arm64", ["arm64 Image", "arm64 vmlinux", "Image.gz", "vmlinuz"]],
])("%s on %s is given what it can start, and nothing that it surely cannot", (vmm, arch, fit) => {
  const taken = Object.entries(KERNELS).filter(([, bytes]) => misfit(bytes, { vmm, arch }) === undefined)
  expect(taken.map(([name]) => name).sort()).toEqual([...fit, ...ANY].sort())
})

test.each([
  [
    "Image.gz",
    "begins as a gzip file, and Firecracker on x86-64 starts a vmlinux or a bzImage",
    /^unpack it: gzip -d -c .*Image.gz > .*Image$/,
  ],
  ["arm64 Image", "begins as an Image for arm64", /^name a kernel that was built for x86-64: banger get vmlinux-6.1/],
  ["arm64 vmlinux", "begins as an ELF file for arm64", /built for x86-64/],
  ["s390 vmlinux", "begins as an ELF file for s390", /built for x86-64/],
  ["module", "begins as a kernel module", /built for x86-64/],
  ["initrd", "begins as a cpio archive", /give it as initrd/],
] as const)("%s is refused by name, with what to do", (name, words, hint) => {
  const path = join(directory.path, name)
  writeFileSync(path, KERNELS[name])
  const failure = failureOf(() => requireKernel(path, { arch: "x64", vmm: "firecracker" }))
  expect(failure).toMatchObject({ code: "BAD_FILE", subject: path })
  expect(failure.message).toContain(`kernel: ${path} ${words}`)
  expect(failure.hint).toMatch(hint)
})
