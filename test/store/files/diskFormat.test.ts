import { expect, test } from "bun:test"
import { formatOf, notRaw } from "../../../src/store/files/diskFormat.ts"

const STARTS = [
  ["qcow2", "QFI\xfb\0\0\0\x03", "qemu-img convert -O raw /d/image /d/image.raw"],
  ["VMDK", "KDMV\x01\0\0\0", "qemu-img convert"],
  ["VMDK", "# Disk DescriptorFile\nversion=1", "qemu-img convert"],
  ["VHDX", "vhdxfile", "qemu-img convert"],
  ["VHD", "conectix", "qemu-img convert"],
  ["VDI", `${"<<< Oracle VM VirtualBox Disk Image >>>\n".padEnd(64, "\0")}\x7f\x10\xda\xbe`, "qemu-img convert"],
  ["gzip", "\x1f\x8b\x08\0", "gzip -d -c /d/image > /d/image.raw"],
  ["zstd", "\x28\xb5\x2f\xfd", "zstd -d -c"],
  ["xz", "\xfd7zXZ\0", "xz -d -c"],
  ["bzip2", "BZh9", "bzip2 -d -c"],
] as const

test.each(STARTS)("what begins as %s is told by name, with what makes a raw image of it", (name, start, hint) => {
  const format = formatOf(Buffer.from(start, "latin1"))
  expect(format?.name).toBe(name)
  if (format === undefined) return
  const failure = notRaw(format, { path: "/d/image", setting: "drives[0].path" })
  expect(failure).toMatchObject({ code: "BAD_FILE", subject: "/d/image" })
  expect(failure.message).toBe(`drives[0].path: /d/image begins as a ${name} file, and a disk is raw`)
  expect(failure.hint).toContain(hint)
  expect(failure.hint).toContain('format: "raw"')
  expect(failure.hint?.includes('format: "qcow2"')).toBe(name === "qcow2")
  // Where no setting could say so, nothing is said of it.
  expect(notRaw(format, { path: "/d/image" }).hint).not.toContain("format:")
})

test("a packed file is unpacked to its own name", () => {
  expect(formatOf(Buffer.from("\x1f\x8b\x08", "latin1"))?.unpack("/d/it's.img.gz")).toBe(
    "gzip -d -c '/d/it'\\''s.img.gz' > '/d/it'\\''s.img'",
  )
})

test("raw disks are none of these", () => {
  const boot = Buffer.alloc(512)
  boot.set([0x55, 0xaa], 510)
  for (const start of [
    boot,
    Buffer.from(""),
    Buffer.from("QFI"),
    Buffer.from("\x1f\x8b", "latin1"),
    Buffer.from("hsqs"),
  ])
    expect(formatOf(start)).toBeUndefined()
})
