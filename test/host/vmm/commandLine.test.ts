import { expect, test } from "bun:test"
import { jailPath } from "../../../src/base/terms/path.ts"
import { addedBytes } from "../../../src/host/firecracker/addedWords.ts"
import { firecracker } from "../../../src/host/firecracker/firecracker.ts"
import { qemu } from "../../../src/host/qemu/qemu.ts"
import { mayBeTooLong, requireCommandLine } from "../../../src/host/vmm/commandLine.ts"
import type { Boot } from "../../../src/host/vmm/vmm.ts"
import { parseSpec } from "../../../src/inputs/plugin/definition.ts"

const disk = (id: string, root = false) => ({ id, root, path: jailPath("/d"), readonly: true, device: false })
const boot = (fields: Partial<Boot> = {}): Boot => ({
  ...{ name: "vm", kernel: jailPath("/k"), initrd: undefined, bootArgs: "quiet", vcpus: 1, memoryMiB: 128 },
  ...{ disks: [], network: false, confinement: undefined, firecracker: {}, restore: undefined, ...fields },
})

// What is left of 2047 bytes is how long a command line Firecracker 1.16.1 has taken, tried on it.
test.each<[string, Partial<Boot>, number]>([
  ["nothing", {}, 2039],
  ["a drive", { disks: [disk("a")] }, 2004],
  ["a root drive", { disks: [disk("a", true)] }, 1987],
  [
    "twelve drives, whose interrupts come to have two digits",
    { disks: Array.from({ length: 12 }, () => disk("a")) },
    1612,
  ],
  ["a balloon", { firecracker: { balloon: { amount_mib: 1, deflate_on_oom: true } } }, 2004],
  ["PCI", { firecracker: { pci: true } }, 2047],
  ["PCI and a root drive", { disks: [disk("a", true), disk("b")], firecracker: { pci: true } }, 2030],
])("with %s Firecracker leaves so much of a command line", (_, fields, left) => {
  expect(2047 - addedBytes(boot(fields), "x64")).toBe(left)
})

test("a guest by arm64 is told of its devices otherwise", () => {
  expect(addedBytes(boot({ disks: [disk("a")] }), "arm64")).toBe(0)
})

test("a command line that kernels cut is refused with who added what; as long as they read it is not", () => {
  const line = (length: number) => ({ bootArgs: "x".repeat(length) })
  expect(() => requireCommandLine(line(2047), { vmm: qemu, boot: boot(line(2047)) })).not.toThrow()
  expect(() => requireCommandLine(line(2000), { vmm: qemu, boot: boot(line(2048)) })).toThrow(
    "bootArgs: a kernel command line of 2048 bytes, but kernels read 2047; 48 of them by banger itself",
  )
  const two = { bootArgs: `${"a".repeat(2046)}é` }
  expect(() => requireCommandLine(two, { vmm: qemu, boot: boot(two) })).toThrow("a kernel command line of 2048 bytes")
  const disks = Array.from({ length: 20 }, (_, index) => disk(`d${index}`))
  expect(() => requireCommandLine(line(1900), { vmm: firecracker, boot: boot({ ...line(1900), disks }) })).toThrow(
    /of 26\d\d bytes, but kernels read 2047; 7\d\d by firecracker$/,
  )
})

test("what is surely short enough is not looked at more closely", () => {
  const spec = (fields: object) => parseSpec({ kernel: "/k", ...fields }, { path: "", text: "" })
  expect(mayBeTooLong(spec({ bootArgs: "console=ttyS0 reboot=k panic=1" }))).toBe(false)
  expect(mayBeTooLong(spec({ bootArgs: "x".repeat(1500) }))).toBe(true)
  const drives = Array.from({ length: 16 }, () => ({ path: "/d" }))
  expect(mayBeTooLong(spec({ bootArgs: "x".repeat(500), drives }))).toBe(true)
})
