import { expect, test } from "bun:test"
import { chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { startGuest } from "./support/banger.ts"
import { eachInItsPlace } from "./support/place.ts"

const place = eachInItsPlace()
const MIB = 1024 * 1024

function sh(...argv: string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(argv)
  if (exitCode !== 0) throw new Error(`${argv.join(" ")}: ${stderr}`)
  return stdout.toString().trim()
}

/** Runs `use` with a block device that is a file of the place. */
async function withLoopDevice(use: (device: string, file: string) => Promise<void>): Promise<void> {
  const file = join(place.dir, "backing.img")
  writeFileSync(file, new Uint8Array(MIB))
  const device = sh("losetup", "--find", "--show", file)
  try {
    await use(device, file)
  } finally {
    sh("losetup", "--detach", device)
  }
}

/** Runs `use` with a file system of one mebibyte. */
async function withSmallDisk(use: (dir: string) => Promise<void>): Promise<void> {
  const dir = join(place.dir, "small")
  mkdirSync(dir)
  sh("mount", "-t", "tmpfs", "-o", "size=1m", "small", dir)
  try {
    await use(dir)
  } finally {
    sh("umount", dir)
  }
}

test.each([
  ["in a jail", true],
  ["without one", false],
])("a guest reads and writes a block device, %s", async (_, jail) => {
  await withLoopDevice(async (device) => {
    writeFileSync(device, "from the host")
    const script = "head -c 13 /dev/vda; echo; printf kept > /dev/vda; sync; echo done"
    const { stdout, stderr, exit } = await startGuest(place, script, { drives: [{ path: device }], jail }).ended
    expect({ stdout, stderr, exit }).toMatchObject({ stdout: expect.stringContaining("from the host"), exit: 0 })
    expect(stdout).toContain("done")
    expect(readFileSync(device, "latin1").slice(0, 13)).toBe("kept the host")
  })
})

test.each([
  ["in a jail", true],
  ["without one", false],
])("a block device that is only read cannot be written, %s", async (_, jail) => {
  await withLoopDevice(async (device) => {
    const script = "printf lost > /dev/vda || echo refused"
    const { stdout, exit } = await startGuest(place, script, { drives: [{ path: device, readonly: true }], jail }).ended
    expect(stdout).toContain("refused")
    expect(exit).toBe(0)
    expect(readFileSync(device).includes("lost")).toBe(false)
  })
})

test("a guest whose disk the host has no room for gets an error, and goes on", async () => {
  await withSmallDisk(async (dir) => {
    const disk = join(dir, "disk.img")
    sh("truncate", "--size", "4M", disk)
    const script = "dd if=/dev/urandom of=/dev/vda bs=64k count=64 conv=fsync || echo failed; echo goes on"
    const { stdout, exit } = await startGuest(place, script, {
      drives: [{ path: disk, write: "shared" }],
      jail: false,
      timeouts: { run: "40s" },
    }).ended
    expect(stdout).toMatch(/I\/O error|Input\/output error/)
    expect(stdout).toContain("failed")
    expect(stdout).toContain("goes on")
    expect(exit).toBe(0)
  })
})

const WRITES = "head -c 4 /dev/vda; echo; printf lost > /dev/vda; sync; head -c 4 /dev/vda"
const TOLD =
  /what the guest writes to \S+own\.img goes to a copy, and with the VM \(write: "private"\); write: "shared"/

test.each<[name: string, spec: object, kept: string, told: boolean]>([
  ["in a jail, by default", { jail: true }, "mine", true],
  ["without a jail, by default", { jail: false }, "mine", true],
  ["in a jail, where that is meant", { jail: true, write: "private" }, "mine", false],
  ["without a jail, where that is meant", { jail: false, write: "private" }, "mine", false],
  ["without a jail, shared", { jail: false, write: "shared" }, "lost", false],
  ["in a jail whose uid has it alone, shared", { jail: { uid: 1_999_999_999 }, write: "shared" }, "lost", false],
])(
  "what a guest writes to an image: %s",
  async (_, { jail, write }: { jail?: unknown; write?: string }, kept, told) => {
    const path = join(place.dir, "own.img")
    writeFileSync(path, Buffer.concat([Buffer.from("mine"), Buffer.alloc(4092)]))
    if (typeof jail === "object") chownSync(path, 1_999_999_999, 1_999_999_999)
    const drives = [{ path, ...(write === undefined ? {} : { write }) }]
    const { stdout, stderr, exit } = await startGuest(place, WRITES, { drives, jail }).ended
    expect({ stdout, stderr, exit }).toMatchObject({ stdout: expect.stringMatching(/mine[\r\n]+lost/), exit: 0 })
    expect(readFileSync(path, "latin1").slice(0, 4)).toBe(kept)
    expect(TOLD.test(stderr)).toBe(told)
  },
)

test("a shared image that the jail's uid has not alone is refused before anything is made, and so is a device as a copy", async () => {
  const path = join(place.dir, "own.img")
  writeFileSync(path, new Uint8Array(4096))
  const refused = await startGuest(place, "true", { drives: [{ path, write: "shared" }], jail: true }).ended
  expect(refused.stderr).toContain("own.img cannot be bound writable: it belongs to uid 0")
  expect(refused.stderr).toContain("persist keeps a disk")
  expect(refused.exit).toBe(2)
  expect(existsSync(join(place.state, "vms"))).toBe(false)
  await withLoopDevice(async (device) => {
    const { stderr, exit } = await startGuest(place, "true", { drives: [{ path: device, write: "private" }] }).ended
    expect(stderr).toContain(`drives[0].path: ${device} is a block device, which is not copied\nwrite: "shared"`)
    expect(exit).toBe(2)
  })
})

test.each([
  [{ write: "shared", readonly: true }, "no write of a drive that is only read"],
  [{ write: "shared", stage: "copy" }, 'stage: "bind" or "link" with write: "shared"'],
  [{ write: "private", stage: "bind" }, '"clone" or "copy" with "private"'],
  [{ write: "shared", format: "qcow2" }, "no shared qcow2 image"],
  [{ write: "both" }, '"private" or "shared"'],
])("%j is refused by name", async (drive, words) => {
  const path = join(place.dir, "own.img")
  writeFileSync(path, new Uint8Array(4096))
  const { stderr, exit } = await startGuest(place, "true", { drives: [{ path, ...drive }] }).ended
  expect(stderr).toContain(words)
  expect(exit).toBe(2)
})
