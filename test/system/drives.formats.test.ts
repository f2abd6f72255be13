import { expect, test } from "bun:test"
import { existsSync, mkdirSync, readdirSync, statfsSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { CLUSTER_BYTES, qcow2Of } from "../store/disks/qcow2Image.ts"
import { banger, fixture, start, startGuest } from "./support/banger.ts"
import { onEachFirecracker, pollingGuest } from "./support/firecrackers.ts"
import { eachInItsPlace } from "./support/place.ts"
import { runDouble } from "./support/vms.ts"

// Images that are not raw, as VMs get them: refused by name, or converted where the plugin says what they are.

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()
const BOTH = [
  ["in a jail", true],
  ["without one", false],
] as const

function file(name: string, content: Uint8Array): string {
  const path = join(place.dir, name)
  writeFileSync(path, content)
  return path
}

/** A disk of 16 KiB: `a`, nothing, `b` and `c` for 4 KiB each. */
const image = () => file("image.qcow2", qcow2Of([{ data: "a" }, "none", { packed: "b" }, { data: "c" }]))
const SCRIPT = `for at in 0 4096 8192 12288; do dd if=/dev/vda bs=1 skip=$at count=1 2> /dev/null | tr '\\0' -; done
  echo; cat /sys/block/vda/size; printf w > /dev/vda && sync && head -c 1 /dev/vda; echo; echo done`

test.each(BOTH)("a qcow2 image is a raw disk of the VM's own, %s", async (_, jail) => {
  const path = image()
  const before = statSync(path)
  for (const readonly of [false, true]) {
    const drives = [{ path, format: "qcow2", readonly }]
    const { stdout, stderr, exit } = await startGuest(place, SCRIPT, { drives, jail }).ended
    expect({ stderr, exit }).toMatchObject({ exit: 0 })
    expect(stdout).toContain("a-bc")
    expect(stdout).toMatch(/^32\r?$/m)
    expect(/^w\r?$/m.test(stdout)).toBe(!readonly)
  }
  const after = statSync(path)
  expect([after.mtimeMs, after.size, after.uid, after.mode]).toEqual([
    before.mtimeMs,
    before.size,
    before.uid,
    before.mode,
  ])
})

test.each(BOTH)("a disk that persists is made of a qcow2 image once, %s", async (_, jail) => {
  const drives = [{ persist: "data", path: image(), format: "qcow2", size: "1M" }]
  const first = await startGuest(place, SCRIPT, { drives, jail }).ended
  expect(first.stdout).toContain("a-bc")
  expect(first.stdout).toMatch(/^2048\r?$/m)
  // What the guest wrote is there, not the image again.
  expect((await startGuest(place, SCRIPT, { drives, jail }).ended).stdout).toContain("w-bc")
})

const PACKED = [
  ["image.qcow2", () => qcow2Of([{ data: "a" }]), "qcow2", 'say format: "qcow2"'],
  ["image.gz", () => gzipSync(Buffer.alloc(4096, "g")), "gzip", "gzip -d -c"],
  ["image.vmdk", () => Buffer.from("KDMV".padEnd(1024, "\0")), "VMDK", "qemu-img convert -O raw"],
] as const

onBoth(
  "an image of another format is refused by name before anything is made, unless it is said to be raw",
  async () => {
    for (const [name, content, format, hint] of PACKED) {
      const path = file(name, content())
      for (const spec of [
        { drives: [{ path }] },
        { drives: [{ path, readonly: true }] },
        { drives: [{ persist: "data", path }] },
      ])
        for (const jail of [true, false]) {
          const { exit, stderr } = await runDouble(place, firecracker, [], "RESET", { ...spec, jail })
          expect({ exit, stderr }).toMatchObject({
            exit: 2,
            stderr: expect.stringContaining(`${path} begins as a ${format} file`),
          })
          expect(stderr).toContain(hint)
          expect(stderr).toContain('format: "raw"')
        }
      expect(existsSync(join(place.state, "vms")) ? readdirSync(join(place.state, "vms")) : []).toEqual([])
      const raw = await runDouble(place, firecracker, [], "RESET", { drives: [{ path, format: "raw", stage: "copy" }] })
      expect(raw).toMatchObject({ exit: 0 })
      expect(await banger(place, ["rm", "--all"])).toMatchObject({ exit: 0 })
    }
  },
)

onBoth("an image that names another file of the host is refused, and what it names is not read", async () => {
  const secret = file("secret", Buffer.from("secret"))
  const named = Buffer.from(qcow2Of(["none"], { u64: { 8: 1024n }, u32: { 16: secret.length } }))
  named.write(secret, 1024)
  for (const drive of [{ path: file("bad.qcow2", named) }, { persist: "data", path: file("bad.qcow2", named) }]) {
    const { exit, stderr } = await runDouble(place, firecracker, [], "RESET", {
      drives: [{ ...drive, format: "qcow2" }],
    })
    expect({ exit, stderr }).toMatchObject({ exit: 2, stderr: expect.stringContaining("has a backing file") })
  }
  const drives = [{ path: image(), format: "qcow2", stage: "copy" }]
  const staged = await runDouble(place, firecracker, [], "RESET", { drives })
  expect(staged).toMatchObject({ exit: 2, stderr: expect.stringContaining("no stage of a qcow2 image") })
  const damaged = Uint8Array.from(qcow2Of([{ packed: "a" }])).fill(0xff, 3 * CLUSTER_BYTES)
  const broken = await runDouble(place, firecracker, [], "RESET", {
    drives: [{ path: file("broken.qcow2", damaged), format: "qcow2" }],
  })
  expect(broken).toMatchObject({ exit: 2, stderr: expect.stringContaining("cannot be unpacked") })
})

onBoth("a drive that comes while the VM runs is not of another format either", async () => {
  const path = image()
  const raw = file("raw", Buffer.alloc(4096))
  for (const jail of [true, false]) {
    const calls = JSON.stringify([["drives.replace", "data", path]])
    const spec = JSON.stringify({ drives: [{ id: "data", path: raw }], jail })
    const running = start(place, ["run", fixture("changing"), "--", pollingGuest(place.dir), spec, calls], {
      ...firecracker.env,
    })
    await running.shows("begins as a qcow2 file")
    running.signal("SIGINT")
    await running.ended
  }
})

test("a plan says what is converted", async () => {
  const drives = [
    { path: image(), format: "qcow2" },
    { persist: "data", path: image(), format: "qcow2" },
  ]
  const { stdout, exit } = await startGuest(place, "true", { drives }, ["--plan"]).ended
  expect(exit).toBe(0)
  expect(stdout).toContain(`convert ${drives[0]?.path} (qcow2) into disk0, a raw copy that is the VM's own`)
  expect(stdout).toContain(`convert ${drives[0]?.path} (qcow2) into the disk data, unless that is there`)
})

/** An image of 64 GiB in a few blocks: each of its clusters is the same one. */
function bomb(): string {
  const cluster = 2 ** 21
  const whole = new DataView(new ArrayBuffer(4 * cluster))
  for (const [at, value] of [
    [0, 0x514649fb],
    [4, 3],
    [20, 21],
    [36, 1],
    [100, 104],
  ] as const)
    whole.setUint32(at, value)
  for (const [at, value] of [
    [24, 2 ** 36],
    [40, cluster],
    [cluster, 2 * cluster],
  ] as const)
    whole.setBigUint64(at, BigInt(value))
  for (let at = 2 * cluster; at < 3 * cluster; at += 8) whole.setBigUint64(at, BigInt(3 * cluster))
  return file("bomb.qcow2", new Uint8Array(whole.buffer).fill(65, 3 * cluster))
}

test.each(BOTH)(
  "a qcow2 image that unpacks to more than there is room for is told of by name, and nothing of it is left, %s",
  async (_, jail) => {
    const { state } = place
    mkdirSync(state, { mode: 0o711 })
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=32M,mode=711", "small", state]).exitCode).toBe(0)
    try {
      const drives = [{ path: bomb(), format: "qcow2" }]
      const { stderr, exit } = await startGuest(place, SCRIPT, { drives, jail }).ended
      expect(stderr).toMatch(
        /bomb\.qcow2 is an image of 64G, and what it has does not fit into .*\n.*make room there: df \//,
      )
      expect(exit).toBe(1)
      const { bfree, blocks } = statfsSync(state)
      expect(bfree / blocks).toBeGreaterThan(0.9)
      expect((await banger(place, ["rm", "--all"])).exit).toBe(0)
    } finally {
      Bun.spawnSync(["umount", "--lazy", state])
    }
  },
)
