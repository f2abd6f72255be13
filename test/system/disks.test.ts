import { expect, test } from "bun:test"
import {
  chmodSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { banger, fixture, start, startGuest, until } from "./support/banger.ts"
import { onEachFirecracker, pollingGuest } from "./support/firecrackers.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"
import { killed, listed, runDouble } from "./support/vms.ts"

// Disks that persist, in a jail and without one, as guests and the kernel see them.

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()
const MIB_BYTES = 1024 * 1024
const disks = () => join(place.state, "disks")
const file = (name = "data") => join(disks(), `${name}.raw`)
const DATA = { drives: [{ persist: "data", size: "4M" }] }
const BOTH = [
  ["in a jail", true],
  ["without one", false],
] as const

/** Whose a file is, and what may be done with it. */
function owned(path: string) {
  const { ino, uid, gid, mode, nlink } = statSync(path)
  return { ino, uid, gid, mode: mode & 0o7777, nlink }
}
const ROOTS = { uid: 0, gid: 0, mode: 0o600, nlink: 1 }

test.each(BOTH)("what a guest wrote is there for the next one, also once the VM is removed, %s", async (_, jail) => {
  const first = await startGuest(place, "printf kept > /dev/vda; sync; echo done", { ...DATA, jail }).ended
  expect({ stderr: first.stderr, exit: first.exit }).toMatchObject({ exit: 0 })
  expect(first.stdout).toContain("done")
  expect(owned(file())).toMatchObject(ROOTS)
  expect(await banger(place, ["rm", records(place)[0]?.id ?? ""])).toMatchObject({ exit: 0 })
  const script = "head -c 4 /dev/vda; echo; cat /sys/block/vda/size; cat /sys/block/vda/queue/write_cache"
  const second = await startGuest(place, script, { drives: [{ persist: "data", size: "8M" }], jail }).ended
  expect(second.stdout).toContain("kept")
  expect(second.stdout).toContain(String((8 * MIB_BYTES) / 512))
  // What it flushes is synced.
  expect(second.stdout).toContain("write back")
})

test.each(BOTH)("a VMM and a banger that are killed lose nothing that the guest has synced, %s", async (_, jail) => {
  const script = "printf synced > /dev/vda; sync; echo done; sleep 1000"
  const running = startGuest(place, script, { ...DATA, jail })
  await running.shows("done")
  process.kill(running.pid, "SIGKILL")
  await running.ended
  await killed(processesOf(place)[0])
  expect(await banger(place, ["sweep", "--grace", "0s"])).toMatchObject({ exit: 0 })
  expect(readFileSync(file()).subarray(0, 6).toString()).toBe("synced")
  expect(owned(file())).toMatchObject(ROOTS)
})

test.each(BOTH)("a disk that is only read cannot be written, %s", async (_, jail) => {
  const drives = [{ ...DATA.drives[0], readonly: true }]
  const { stdout, exit } = await startGuest(place, "printf lost > /dev/vda || echo refused", { drives, jail }).ended
  expect({ stdout, exit }).toEqual({ stdout: expect.stringContaining("refused"), exit: 0 })
  expect(readFileSync(file()).includes("lost")).toBe(false)
})

onBoth("the file itself is in the jail, and its uid's as long as that is there", async () => {
  expect(await runDouble(place, firecracker, undefined, undefined, DATA)).toMatchObject({ exit: 0 })
  const [vm] = await listed(place)
  const root = join(place.state, "jail/firecracker", vm?.id ?? "", "root")
  const uid = statSync(root).uid
  expect(uid).toBeGreaterThan(0)
  expect(owned(join(root, "disk0"))).toEqual({ ino: statSync(file()).ino, uid, gid: uid, mode: 0o600, nlink: 1 })
  // No other uid reaches it by its own name.
  expect(statSync(disks()).mode & 0o7777).toBe(0o700)
  writeSync(openSync(join(root, "disk0"), "r+"), "kept")
  // What its uid may do to a file of its own.
  chmodSync(join(root, "disk0"), 0o4777)
  expect(await banger(place, ["restart", "double"], { ...firecracker.env })).toMatchObject({ exit: 0 })
  const [again] = (await listed(place)).filter(({ state }) => state === "running")
  const next = statSync(join(place.state, "jail/firecracker", again?.id ?? "", "root")).uid
  expect(owned(file())).toMatchObject({ uid: next, mode: 0o600 })
  expect(next).not.toBe(uid)
  expect(await banger(place, ["rm", "-f", "double"])).toMatchObject({ exit: 0 })
  expect(owned(file())).toMatchObject(ROOTS)
  expect(readFileSync(file()).subarray(0, 4).toString()).toBe("kept")
})

onBoth("a VM whose banger and VMM are killed gives its disk back by a sweep; until then it has it", async () => {
  expect(await runDouble(place, firecracker, undefined, undefined, DATA)).toMatchObject({ exit: 0 })
  const [vm] = await listed(place)
  await killed(vm?.supervisor)
  const refused = await runDouble(place, firecracker, ["--name", "other"], undefined, DATA)
  expect(refused).toMatchObject({ exit: 1, stderr: expect.stringContaining(`in use by VM ${vm?.id}`) })
  await killed(vm?.pid)
  expect(owned(file()).uid).toBeGreaterThan(0)
  expect(await banger(place, ["sweep", "--grace", "0s"])).toMatchObject({ exit: 0 })
  expect(owned(file())).toMatchObject(ROOTS)
})

onBoth("a restart policy boots the VM again with its disk", async () => {
  const restart = { policy: "always", delay: "50ms" }
  expect(await runDouble(place, firecracker, undefined, undefined, { ...DATA, restart })).toMatchObject({ exit: 0 })
  const [vm] = await listed(place)
  await killed(vm?.pid)
  await until(() => records(place).some(({ id, state }) => id !== vm?.id && state === "running"))
  const [again] = (await listed(place)).filter(({ state }) => state === "running")
  expect(JSON.parse((await banger(place, ["disk", "ls", "--json"])).stdout)).toMatchObject([{ vm: { id: again?.id } }])
  expect(await banger(place, ["stop", again?.id ?? ""])).toMatchObject({ exit: 0 })
})

onBoth(
  "a drive that is given another image while its VM runs leaves the disk as it is: it is the VM's to its end",
  async () => {
    const image = join(place.dir, "image")
    writeFileSync(image, Buffer.alloc(MIB_BYTES, "i"))
    const drives = [{ id: "data", persist: "data", size: "4M" }]
    const calls = JSON.stringify([["drives.replace", "data", image]])
    const words = ["run", fixture("changing"), "--", pollingGuest(place.dir), JSON.stringify({ drives }), calls]
    const running = start(place, words, { ...firecracker.env })
    await running.shows("changed")
    expect(JSON.parse((await banger(place, ["disk", "ls", "--json"])).stdout)).toMatchObject([
      { vm: { state: "running" } },
    ])
    running.signal("SIGINT")
    expect((await running.ended).stderr).not.toContain("refused")
    expect(owned(file())).toMatchObject(ROOTS)
    expect(readFileSync(file()).equals(Buffer.alloc(4 * MIB_BYTES))).toBe(true)
    expect(statSync(image)).toMatchObject({ uid: 0, size: MIB_BYTES })
  },
)

test("that what a guest writes to an image is lost is said, unless the disk persists", async () => {
  const image = join(place.dir, "image")
  writeFileSync(image, Buffer.alloc(MIB_BYTES))
  const run = (drives: readonly object[]) =>
    runDouble(place, firecracker, [], "RESET PRINT[up]", { drives, restart: "on-failure" })
  expect((await run([{ path: image }])).stderr).toContain(
    `what the guest writes to ${image} goes to a copy, and with the VM`,
  )
  for (const drives of [DATA.drives, [{ path: image, readonly: true }]])
    expect((await run(drives)).stderr).not.toContain("goes to a copy")
})

/** Runs `use` with a file system of one mebibyte where the disks are. */
async function withSmallPlace(use: () => Promise<void>): Promise<void> {
  mkdirSync(disks(), { recursive: true })
  chmodSync(place.state, 0o711)
  expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=1m", "small", disks()]).exitCode).toBe(0)
  try {
    await use()
  } finally {
    expect(Bun.spawnSync(["umount", disks()]).exitCode).toBe(0)
  }
}

test("disks may be on a file system of their own; that it could become full is said, and when it is, the guest goes on", async () => {
  await withSmallPlace(async () => {
    const script = "dd if=/dev/urandom of=/dev/vda bs=64k count=64 conv=fsync || echo failed; echo goes on"
    const { stdout, stderr, exit } = await startGuest(place, script, { ...DATA, timeouts: { run: "60s" } }).ended
    expect(stderr).toMatch(/the disk data may come to take 4M more, and .*\/disks has .* left/)
    expect({ stdout, exit }).toEqual({ stdout: expect.stringContaining("goes on"), exit: 0 })
    expect(stdout).toContain("failed")
    expect(owned(file())).toMatchObject(ROOTS)
  })
})

test("a guest that fills the state's own file system by its disk is cleaned up all the same, and the disk is given back", async () => {
  const full = join(place.dir, "full")
  mkdirSync(full)
  expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=3M", "full", full]).exitCode).toBe(0)
  try {
    const env = { BANGER_STATE_DIR: join(full, "state") }
    const filler = join(full, "filler")
    writeFileSync(filler, Buffer.alloc(MIB_BYTES / 2))
    const script = "dd if=/dev/urandom of=/dev/vda bs=64k count=64 conv=fsync || echo failed; echo goes on"
    const words = ["run", fixture("guest"), "--", script, JSON.stringify(DATA)]
    const { stdout, stderr } = await start(place, words, env).ended
    expect(stdout).toContain("failed")
    expect(stderr).toContain("postStop: guest reset")
    expect(readdirSync(join(full, "state/jail/qemu"))).toEqual([])
    expect(owned(join(full, "state/disks/data.raw"))).toMatchObject(ROOTS)
    // Where even the record could not be written, that is made good once there is room.
    Bun.spawnSync(["rm", filler])
    expect(await banger(place, ["sweep", "--grace", "0s"], env)).toMatchObject({ exit: 0 })
    const { stdout: listed } = await banger(place, ["disk", "ls", "--json"], env)
    expect(JSON.parse(listed)).toMatchObject([{ name: "data", vm: null }])
  } finally {
    expect(Bun.spawnSync(["umount", full]).exitCode).toBe(0)
  }
})

test("an image that does not fit is refused before anything is made, and so is an import: nothing is left of it", async () => {
  await withSmallPlace(async () => {
    const image = join(place.dir, "image")
    writeFileSync(image, Buffer.alloc(2 * MIB_BYTES, "x"))
    const { stderr, exit } = await startGuest(place, "true", { drives: [{ persist: "data", path: image }] }).ended
    expect({ stderr, exit }).toEqual({ stderr: expect.stringContaining(`drives[0]: ${image} takes 2M`), exit: 1 })
    expect(records(place)).toEqual([])
    const imported = await banger(place, ["disk", "import", "data", image, "--json"])
    expect(imported).toMatchObject({ exit: 1, stderr: expect.stringContaining('"NO_SPACE"') })
    expect(existsSync(file())).toBe(false)
    // Its holes take nothing.
    truncateSync(image, 4096)
    truncateSync(image, 2 * MIB_BYTES)
    expect(await banger(place, ["disk", "import", "data", image])).toMatchObject({ exit: 0 })
  })
})

test.each(["symlink", "fifo"])(
  "a %s in a disk's place is refused by name, and nothing behind it is touched",
  async (what) => {
    mkdirSync(disks(), { recursive: true })
    chmodSync(place.state, 0o711)
    const secret = join(place.dir, "secret")
    writeFileSync(secret, "secret", { mode: 0o640 })
    if (what === "symlink") symlinkSync(secret, file())
    else Bun.spawnSync(["mkfifo", file()])
    const { stderr, exit } = await startGuest(place, "true", DATA).ended
    expect({ stderr, exit }).toEqual({ stderr: expect.stringContaining(`${file()} is `), exit: 2 })
    for (const words of [
      ["rm", "data"],
      ["export", "data", join(place.dir, "copy")],
      ["resize", "data", "8M"],
    ])
      expect(await banger(place, ["disk", ...words])).toMatchObject({ exit: 2 })
    expect(await banger(place, ["disk", "ls"])).toMatchObject({
      exit: 0,
      stderr: expect.stringContaining("no disk of banger's"),
    })
    expect({ ...owned(secret), text: readFileSync(secret, "utf8") }).toMatchObject({ mode: 0o640, text: "secret" })
    Bun.spawnSync(["rm", file()])
  },
)
