import { expect, test } from "bun:test"
import { chmodSync, chownSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { pairs } from "../real.ts"
import { banger, fixture } from "./support/banger.ts"
import { doublesOfFile, kernelOf } from "./support/doubles.ts"
import { eachInItsPlace, records } from "./support/place.ts"

const doubles = doublesOfFile()
const place = eachInItsPlace()
const both = pairs(doubles)

function image(bytes: number, mode = 0o644): string {
  const path = join(place.dir, "disk.img")
  writeFileSync(path, "x".repeat(bytes))
  chmodSync(path, mode)
  return path
}

const run = (env: object, spec: object, ...staged: object[]) => {
  const words = [kernelOf(place.dir, "DISK"), JSON.stringify(spec), JSON.stringify(staged)]
  return banger(place, ["run", fixture("drives"), "--", ...words], { ...env })
}

const logOf = (id = "") => readFileSync(join(place.state, "vms", id, "firecracker.log"), "utf8")

/** Runs `use` with a block device of this many bytes. */
async function withLoopDevice(bytes: number, use: (device: string) => Promise<void>): Promise<void> {
  const { stdout, stderr } = Bun.spawnSync(["losetup", "--find", "--show", image(bytes)])
  const device = stdout.toString().trim()
  expect(stderr.toString().replace(/^losetup: .*: Warning: .*\n/, "")).toBe("")
  try {
    await use(device)
  } finally {
    expect(Bun.spawnSync(["losetup", "--detach", device]).exitCode).toBe(0)
  }
}

for (const [which, pair] of both) {
  test.each([
    ["writable, so a copy", { readonly: false }, 0o644],
    ["copied because the plugin says so", { readonly: true, stage: "copy" }, 0o644],
    ["not for others to read, so a copy", { readonly: true }, 0o600],
  ] as const)(`the private copy of an image is padded, the image is not: %s (${which})`, async (_, drive, mode) => {
    const path = image(700, mode)
    const { stdout, stderr, exit } = await run(pair.env, { drives: [{ path, ...drive }] })
    expect({ stdout, stderr, exit }).toMatchObject({ stdout: expect.stringContaining("D8\n"), exit: 0 })
    expect(statSync(path).size).toBe(700)
    expect(logOf(records(place)[0]?.id)).not.toContain("sector size")
  })

  test(`what a hook staged in the jail is padded (${which})`, async () => {
    expect((await run(pair.env, {}, { by: "write", of: 200 })).stdout).toContain("D8\n")
  })

  test(`a block device has the sectors that it has (${which})`, async () => {
    await withLoopDevice(1536, async (device) => {
      const { stdout, exit } = await run(pair.env, { drives: [{ path: device }] })
      expect({ stdout, exit }).toEqual({ stdout: expect.stringContaining("D3\n"), exit: 0 })
    })
  })
}

test.each([
  ["is bound because it is only read", { readonly: true }],
  ["is bound because the plugin says so", { readonly: true, stage: "bind" }],
] as const)("an image that %s is refused, with both ways to mend it", async (_, drive) => {
  const path = image(700)
  const { stderr, exit } = await run(doubles.env, { drives: [{ path, ...drive }] })
  expect(exit).toBe(2)
  expect(stderr).toContain(`drives[0].path: ${path} is no whole number of 512-byte sectors`)
  expect(stderr).toContain(`truncate -s %512 ${path}, or give the VM a padded copy: stage: "copy"`)
  expect(records(place)).toEqual([])
})

test("so is one that is the jail uid's own: linked, or bound by its preBoot's link", async () => {
  const path = image(700)
  const jail = { uid: 1_900_000_012 }
  chownSync(path, jail.uid, jail.uid)
  const linked = await run(doubles.env, { jail, drives: [{ path, stage: "link" }] })
  expect(linked.stderr).toContain("no whole number of 512-byte sectors")
  const byHook = await run(doubles.env, { jail }, { by: "link", of: path })
  expect({ exit: byHook.exit, stderr: byHook.stderr }).toEqual({
    exit: 2,
    stderr: expect.stringContaining("no whole number of 512-byte sectors"),
  })
  expect(statSync(path)).toMatchObject({ size: 700, nlink: 1 })
})

test("a hook's host file that is bound is refused when it is staged, and nothing is left", async () => {
  const path = image(700)
  const plugin = join(place.dir, "plugin.ts")
  const kernel = kernelOf(place.dir, "DISK")
  writeFileSync(
    plugin,
    `export default { kernel: ${JSON.stringify(kernel)}, vmm: "firecracker",
      preBoot(ctx) { ctx.drives.add({ path: ${JSON.stringify(path)}, readonly: true }) } }`,
  )
  const { stderr, exit } = await banger(place, ["run", plugin], { ...doubles.env })
  expect({ exit, stderr }).toEqual({ exit: 2, stderr: expect.stringContaining(`drives: ${path} is no whole number`) })
})

test.each(["kernel", "absent"])("the name %s in the jail is nothing that a hook staged", async (name) => {
  const kernel = kernelOf(place.dir, "DISK")
  const plugin = `export default { kernel: ${JSON.stringify(kernel)}, vmm: "firecracker",
    preBoot(ctx) { ctx.drives.add({ path: ${JSON.stringify(place.state)} + "/jail/firecracker/" + ctx.vm.id + "/root/${name}" }) } }`
  writeFileSync(join(place.dir, "plugin.ts"), plugin)
  const { stderr, exit } = await banger(place, ["run", join(place.dir, "plugin.ts")], { ...doubles.env })
  expect({ exit, stderr }).toEqual({ exit: 2, stderr: expect.stringContaining(`root/${name} is no file that a hook`) })
})

test("an empty block device is refused by name", async () => {
  await withLoopDevice(0, async (device) => {
    const { stderr, exit } = await run(doubles.env, { drives: [{ path: device }] })
    expect({ exit, stderr }).toEqual({ exit: 2, stderr: expect.stringContaining(`drives: ${device} is empty`) })
  })
})

test("QEMU is given the same: the copy is padded", async () => {
  const plugin = `export default { kernel: ${JSON.stringify(join(import.meta.dir, "../../dist/guest/vmlinuz"))},
    initrd: ${JSON.stringify(join(import.meta.dir, "../../dist/guest/initrd.img"))}, vmm: "qemu",
    bootArgs: "console=ttyS0 reboot=k panic=1 loglevel=3 cryptomgr.notests pci=off",
    drives: [{ path: ${JSON.stringify(image(700))} }],
    async preBoot(ctx) {
      const job = await ctx.stage.write("job.sh", "#!/bin/sh\\ncat /sys/block/vda/size /sys/block/vdb/size\\n")
      ctx.drives.add({ path: job, readonly: true })
    } }`
  writeFileSync(join(place.dir, "plugin.ts"), plugin)
  const { stdout, exit } = await banger(place, ["run", join(place.dir, "plugin.ts")])
  expect({ stdout, exit }).toEqual({ stdout: expect.stringMatching(/^8\r?\n8\r?$/m), exit: 0 })
})
