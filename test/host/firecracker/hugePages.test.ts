import { expect, test } from "bun:test"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { requireHugePages } from "../../../src/host/firecracker/hugePages.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const boot = { memoryMiB: 256, firecracker: { machine: { huge_pages: "2M" } } } as const

/** Files of the kernel's counts, by their names without `_hugepages`. */
function counts(of: Readonly<Record<string, string | number>>): string {
  const dir = join(directory.path, "counts")
  mkdirSync(dir)
  for (const [name, count] of Object.entries(of)) writeFileSync(join(dir, `${name}_hugepages`), `${count}\n`)
  return dir
}

test.each([
  ["none", { nr: 0, free: 0, resv: 0 }, "this host has 0 free", "vm.nr_hugepages=128"],
  ["too few", { nr: 200, free: 127, resv: 0 }, "this host has 127 free", "vm.nr_hugepages=201"],
  ["pages that are promised", { nr: 128, free: 128, resv: 100 }, "this host has 28 free", "vm.nr_hugepages=228"],
  ["more promised than free", { nr: 128, free: 10, resv: 100 }, "this host has 0 free", "vm.nr_hugepages=256"],
  ["too few on demand", { nr: 0, free: 0, nr_overcommit: 100, surplus: 90 }, "has 10 free", "vm.nr_hugepages=118"],
])("a host with %s is told of before the start", (_, has, words, command) => {
  const dir = counts(has)
  expect(() => requireHugePages(boot, { counts: dir })).toThrow(
    expect.objectContaining({
      code: "HOST_LACKS",
      message: expect.stringMatching(
        new RegExp(
          `^firecracker.machine.huge_pages: the guest's 256 MiB need 128 huge pages of 2 MiB, and .*${words}$`,
        ),
      ),
      hint: `reserve them: sysctl ${command}; or leave huge_pages out`,
      subject: "firecracker.machine.huge_pages",
    }),
  )
})

test.each([
  ["just enough", { nr: 128, free: 128, resv: 0 }],
  ["enough on demand", { nr: 0, free: 0, resv: 0, nr_overcommit: 128, surplus: 0 }],
  ["half a table", { nr: 0 }],
  ["a table that is none", { nr: "many", free: "0x10" }],
  ["no table", {}],
])("a host with %s passes", (_, has) => requireHugePages(boot, { counts: counts(has) }))

test("a guest whose memory is of small pages needs none, nor does a host need the files", () => {
  requireHugePages({ ...boot, firecracker: {} }, { counts: counts({ nr: 0, free: 0 }) })
  requireHugePages(
    { ...boot, firecracker: { machine: { huge_pages: "None" } } },
    { counts: join(directory.path, "counts") },
  )
  requireHugePages(boot, { counts: join(directory.path, "none") })
  writeFileSync(join(directory.path, "file"), "")
  requireHugePages(boot, { counts: join(directory.path, "file") })
})

test("what a guest has that ends first is there again", () => {
  const dir = counts({ nr: 128, free: 28 })
  const freed = (memoryMiB: number, huge_pages: "2M" | "None") => () =>
    requireHugePages(boot, { counts: dir, freed: () => ({ memoryMiB, firecracker: { machine: { huge_pages } } }) })
  expect(freed(200, "2M")).not.toThrow()
  expect(freed(199, "2M")).not.toThrow()
  expect(freed(198, "2M")).toThrow("this host has 127 free")
  expect(freed(256, "None")).toThrow("this host has 28 free")
})
