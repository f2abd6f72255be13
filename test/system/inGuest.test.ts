import { expect, test } from "bun:test"
import { cpSync, mkdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { startGuest } from "./banger.ts"
import { eachInItsPlace } from "./place.ts"

const place = eachInItsPlace()

test("on a distribution's kernel with cgroup v2 alone: limits are kept, a cgroup is killed, a jail is made and removed", async () => {
  const root = join(place.dir, "root")
  for (const dir of ["proc", "sys", "dev", "tmp"]) mkdirSync(join(root, dir), { recursive: true })
  const program = join(root, "inGuest")
  const source = join(import.meta.dir, "../fixtures/inGuest.ts")
  const built = Bun.spawnSync([process.execPath, "build", "--compile", source, "--outfile", program], {
    stderr: "pipe",
  })
  expect(built.exitCode, built.stderr.toString()).toBe(0)
  for (const library of librariesOf(program)) {
    mkdirSync(join(root, dirname(library)), { recursive: true })
    cpSync(library, join(root, library), { dereference: true })
  }
  const disk = join(place.dir, "disk.img")
  const made = Bun.spawnSync(["mkfs.ext4", "-q", "-d", root, disk, "250M"])
  expect(made.stderr.toString()).toBe("")
  const script = [
    "mkdir /mnt && mount -t ext4 /dev/vda /mnt && cd /mnt",
    "mount -t proc proc proc && mount -t sysfs sys sys && mount -t devtmpfs dev dev",
    "mount -t cgroup2 none sys/fs/cgroup && chroot /mnt /inGuest",
  ].join(" && ")
  const { stdout, stderr } = await startGuest(place, script, { memory: "1G", drives: [{ path: disk, id: "root" }] })
    .ended
  const result = /RESULT (\{.*\})/.exec(stdout)?.[1]
  expect(result, stdout + stderr).toBeDefined()
  expect(JSON.parse(result ?? "{}")).toEqual({
    kernel: expect.stringMatching(/^\d+\.\d+/),
    limits: {
      "memory.max": String(256 * 1024 * 1024),
      "cpu.max": "50000 100000",
      "pids.max": "100",
      "io.max": expect.stringContaining("rbps=1000000"),
    },
    joined: true,
    killed: "SIGKILL",
    staged: 7,
    mounts: 5,
    left: 0,
  })
})

/** The shared libraries a program needs, and its loader, as the loader itself tells. */
function librariesOf(program: string): readonly string[] {
  const listed = Bun.spawnSync(["ldd", program]).stdout.toString()
  const found = [...listed.matchAll(/(\/\S+) \(0x/g)].map(([, path = ""]) => path)
  expect(found.length, listed || readFileSync(program).length.toString()).toBeGreaterThan(2)
  return found
}
