import { expect, test } from "bun:test"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
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
      drives: [{ path: disk }],
      jail: false,
      timeouts: { run: "40s" },
    }).ended
    expect(stdout).toMatch(/I\/O error|Input\/output error/)
    expect(stdout).toContain("failed")
    expect(stdout).toContain("goes on")
    expect(exit).toBe(0)
  })
})
