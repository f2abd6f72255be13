// Every plugin that a document shows, and every one of plugins/ that boots, is run: on QEMU with the Linux guest; on the
// double of Firecracker, and on the real one where that can run, with a guest of some bytes in the place of the kernel. So
// all that the plugin asks of Firecracker is taken by it. That the real one boots a stock kernel needs a host whose KVM does.
import { afterEach, beforeEach, expect, test } from "bun:test"
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { banger } from "./support/banger.ts"
import { kernelOf } from "./support/doubles.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace } from "./support/place.ts"
import { listed } from "./support/vms.ts"
import { beHost, expectNoNetwork, must } from "./support/wire.ts"

const root = join(import.meta.dir, "../..")
const guest = join(root, "dist/guest")
const textOf = (path: string) => readFileSync(resolve(root, path), "utf8")

const documents = ["README.md", ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`)]
const shown = documents.flatMap((file) =>
  [...textOf(file).matchAll(/^```ts\n(.*?)^```$/gms)].map(
    ([, code = ""], index) => [`${file} ${index}`, code] as const,
  ),
)
/** The others boot nothing. */
const plugins = readdirSync(join(root, "plugins"))
  .map((name) => [`plugins/${name}`, textOf(`plugins/${name}`)] as const)
  .filter(([, code]) => code.includes("kernel:"))
const examples = [...shown, ...plugins]

/** What only Firecracker does: QEMU changes no drive or card of a VM that runs. */
const FIRECRACKER_ALONE = /\bctx\.(?:drives\.(?:replace|update)|network\.(?:update|add))\(/

const BACKUPS = "/var/backups"
/** What an example downloads, without a network. */
const DOWNLOAD = ["https://example.org/data.img", `data:application/octet-stream,${"x".repeat(700)}`] as const

const { firecracker, onBoth } = onEachFirecracker()
// Before the place's own, which looks whether anything is left.
afterEach(() => {
  expect(Bun.spawnSync(["umount", BACKUPS]).exitCode).toBe(0)
  must("ip", "link", "delete", "br0")
  expectNoNetwork()
})
const place = eachInItsPlace()
beforeEach(() => {
  beHost()
  // A bridge of the user's that an example names.
  must("ip", "link", "add", "br0", "type", "bridge")
  must("ip", "link", "set", "br0", "up")
  mkdirSync(BACKUPS, { recursive: true })
  expect(Bun.spawnSync(["mount", "-t", "tmpfs", "tmpfs", BACKUPS]).exitCode).toBe(0)
})

test("there are examples, of documents and of plugins/", () => {
  expect(shown.length).toBeGreaterThan(6)
  expect(plugins.length).toBeGreaterThan(0)
})

for (const [name, code] of examples) {
  onBoth(`${name} runs`, async () => {
    const plugin = write(name, code, { kernel: readFileSync(kernelOf(place.dir)), initrd: Buffer.alloc(4096) })
    await live(name, plugin, "firecracker")
  })
  const alone = FIRECRACKER_ALONE.test(code)
  const why = alone ? ": only Firecracker changes what a VM has while it runs" : ""
  test.skipIf(alone)(`${name} runs (on QEMU${why})`, async () => {
    const [kernel, initrd] = [readFileSync(join(guest, "vmlinuz")), readFileSync(join(guest, "initrd.img"))]
    await live(name, write(name, code, { kernel, initrd }), "qemu")
  })
}

/** Puts a plugin where what it names is beside it; returns its path. */
function write(name: string, code: string, { kernel, initrd }: { kernel: Buffer; initrd: Buffer }): string {
  const [beside, built] = [join(place.dir, "plugins"), join(place.dir, "dist/guest")]
  for (const dir of [beside, built]) {
    mkdirSync(dir, { recursive: true })
    writeFileSync(join(dir, "vmlinuz"), kernel)
    writeFileSync(join(dir, "initrd.img"), initrd)
  }
  writeFileSync(join(beside, "base.img"), Buffer.alloc(8192))
  const path = join(beside, `${name.replace(/\W/g, "-")}.ts`)
  writeFileSync(path, code.replace(...DOWNLOAD))
  return path
}

/** Runs a plugin until its VM is up, and ends it; Linux guests need not be awaited for that. */
async function live(name: string, plugin: string, vmm: "firecracker" | "qemu"): Promise<void> {
  const env = vmm === "firecracker" ? firecracker.env : {}
  const words = ["run", "--detach", "--vmm", vmm, "--name", "example", plugin]
  expect({ name, ...(await banger(place, words, env)) }).toMatchObject({ name, stdout: "example\n", exit: 0 })
  expect(await listed(place)).toMatchObject([{ name: "example", state: "running", liveness: "alive", vmm }])
  expect(await banger(place, [vmm === "qemu" ? "kill" : "stop", "example"])).toMatchObject({ exit: 0 })
  if (textOf(plugin).includes(`${BACKUPS}/`)) expect(readdirSync(BACKUPS)).toEqual(["data.img"])
}
