import { expect, test } from "bun:test"
import { decompress } from "../../../src/inputs/kernel/decompress.ts"
import { unpackLegacyLz4 } from "../../../src/inputs/kernel/lz4.ts"
import { extractVmlinux } from "../../../src/inputs/kernel/vmlinux.ts"
import { bzImageWith } from "../../bzImage.ts"

const magic = [0x02, 0x21, 0x4c, 0x18]

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes)
}

/** One block: 4 literals "abcd", a match of 8 at distance 4 that overlaps itself, then the literal "!". */
const block = [0x44, ...Buffer.from("abcd"), 4, 0, 0x10, ...Buffer.from("!")]
const lz4 = new Uint8Array([...magic, block.length, 0, 0, 0, ...block])

test("LZ4: literals, and a match that overlaps what it writes", () => {
  expect(text(decompress(lz4))).toBe("abcdabcdabcd!")
})

test("LZ4: data that is cut off is an error", () => {
  expect(() => unpackLegacyLz4(lz4.slice(0, -3))).toThrow("ends in the middle of a block")
})

test("LZ4: lengths of 15 and more go on in the next bytes", () => {
  const long = [0xf0, 5, ...Buffer.from("x".repeat(20))]
  expect(text(unpackLegacyLz4(new Uint8Array([...magic, long.length, 0, 0, 0, ...long])))).toBe("x".repeat(20))
})

test("LZ4: a match that reaches before the start is an error", () => {
  const bad = [0x10, 97, 9, 0]
  expect(() => unpackLegacyLz4(new Uint8Array([...magic, bad.length, 0, 0, 0, ...bad]))).toThrow("before its start")
})

test("gzip, zstd, and bytes that are not compressed", () => {
  const plain = Buffer.from("a kernel module")
  expect(text(decompress(Bun.gzipSync(plain)))).toBe("a kernel module")
  expect(text(decompress(new Uint8Array(Bun.zstdCompressSync(plain))))).toBe("a kernel module")
  expect(text(decompress(new Uint8Array(plain)))).toBe("a kernel module")
})

const elf = Uint8Array.from([0x7f, 0x45, 0x4c, 0x46, 1, 2, 3])

test("a bzImage gives the ELF file that its header points to", () => {
  expect(extractVmlinux(bzImageWith(Bun.gzipSync(elf)))).toEqual(elf)
})

test("the unpacked size that the kernel's build appends to other formats is no part of them", () => {
  const size = [elf.length, 0, 0, 0]
  expect(extractVmlinux(bzImageWith(Buffer.from([...Bun.zstdCompressSync(elf), ...size])))).toEqual(elf)
})

test("a kernel that is no bzImage is an error", () => {
  expect(() => extractVmlinux(new Uint8Array(1024))).toThrow("neither an ELF vmlinux nor an x86 bzImage")
})
