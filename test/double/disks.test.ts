import { expect, test } from "bun:test"
import {
  closeSync,
  existsSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { failureIn } from "../jsonSaid.ts"
import { banger, environmentOf, fixture, until } from "../system/support/banger.ts"
import { kernelOf } from "../system/support/doubles.ts"
import { records } from "../system/support/place.ts"
import { killed, listed } from "../system/support/vms.ts"
import { bangersOf, eachOnDoubles } from "./support/place.ts"
import { type Boot, boot, bootWords } from "./support/vms.ts"

// Disks that persist, without a jail.

const place = eachOnDoubles()
const MIB_BYTES = 1024 * 1024
const DATA = { drives: [{ id: "data", persist: "web-data", size: "4M" }] }
const disks = () => join(place.state, "disks")
const file = (name = "web-data") => join(disks(), `${name}.raw`)
const disk = (...words: readonly string[]) => banger(place, ["disk", ...words])
const run = (how: Boot) => banger(place, bootWords(place, how))

/** Writes as a guest would: into the file, which keeps its inode. */
function write(path: string, text: string, at = 0): void {
  const fd = openSync(path, "r+")
  Bun.spawnSync(["dd", `of=${path}`, "conv=notrunc", "oflag=seek_bytes", `seek=${at}`, "status=none"], {
    stdin: Buffer.from(text),
  })
  closeSync(fd)
}
const start = (path = file()) => readFileSync(path).subarray(0, 4).toString()

async function ls(): Promise<readonly { name: string; sizeBytes: number; vm: { id: string } | null }[]> {
  return JSON.parse((await disk("ls", "--json")).stdout)
}

test("a disk keeps its content over stop, restart and rm of its VM, and is one VM's at a time", async () => {
  const { id } = await boot(place, DATA)
  expect(statSync(file())).toMatchObject({ size: 4 * MIB_BYTES, blocks: 0 })
  write(file(), "kept")
  const { ino } = statSync(file())
  expect(await ls()).toMatchObject([
    { name: "web-data", path: file(), sizeBytes: 4 * MIB_BYTES, vm: { id, state: "running" } },
  ])
  const second = await banger(place, ["--json", ...bootWords(place, { ...DATA, flags: ["--name", "second"] })])
  expect(failureIn(second)).toMatchObject({ code: "IN_USE", subject: id, hint: `end it first: banger stop ${id}` })
  expect(failureIn(second).message).toBe(`the disk web-data is in use by VM ${id} (double, running)`)
  // Nothing was made for it.
  expect(records(place).map(({ name }) => name)).toEqual(["double"])
  expect(readdirSync(join(place.state, "vms"))).toEqual([id])
  expect(await banger(place, ["restart", "double"])).toMatchObject({ exit: 0 })
  expect((await ls())[0]?.vm?.id).not.toBe(id)
  expect(await banger(place, ["rm", "-f", "double"])).toMatchObject({ exit: 0 })
  expect({ start: start(), ino: statSync(file()).ino, ls: await ls() }).toMatchObject({
    start: "kept",
    ino,
    ls: [{ vm: null }],
  })
  await boot(place, { ...DATA, name: "second", flags: ["--detach"] })
  expect(await banger(place, ["stop", "second"])).toMatchObject({ exit: 0 })
  expect(start()).toBe("kept")
})

test("what Firecracker is told of a disk: where it is, and that what the guest flushes is to be synced", async () => {
  const { id } = await boot(place, DATA)
  const { vmmConfig, journal, spec } = JSON.parse((await banger(place, ["inspect", id])).stdout)
  expect(vmmConfig.drives).toMatchObject([{ drive_id: "data", path_on_host: file(), cache_type: "Writeback" }])
  expect(journal.journal).toContainEqual({ kind: "disk", name: "web-data" })
  expect(spec.drives).toEqual(DATA.drives)
  expect(await banger(place, ["stop", id])).toMatchObject({ exit: 0 })
  // Whoever says otherwise is believed.
  const own = { ...DATA, firecracker: { drives: { data: { cache_type: "Unsafe" } } } }
  const again = await boot(place, own)
  const config = JSON.parse((await banger(place, ["inspect", again.id])).stdout).vmmConfig
  expect(config.drives).toMatchObject([{ cache_type: "Unsafe" }])
  expect(await banger(place, ["stop", again.id])).toMatchObject({ exit: 0 })
})

test("a disk whose VM and banger were killed is the next VM's: the dead one is finished first", async () => {
  const { id, pid, supervisor } = await boot(place, DATA)
  write(file(), "kept")
  await killed(supervisor)
  // While its VMM runs, the VM has it.
  const refused = await run({ ...DATA, name: "second" })
  expect(refused).toMatchObject({ exit: 1, stderr: expect.stringContaining(`in use by VM ${id}`) })
  await killed(pid)
  const next = await boot(place, { ...DATA, name: "second" })
  expect(records(place).find((record) => record.id === id)).toMatchObject({ handles: "[]" })
  expect((await ls())[0]?.vm?.id).toBe(next.id)
  await killed(next.supervisor)
  await killed(next.pid)
  expect(await banger(place, ["sweep", "--grace", "0s"])).toMatchObject({ exit: 0 })
  expect({ ls: await ls(), start: start() }).toMatchObject({ ls: [{ vm: null }], start: "kept" })
})

test("a failed start that is kept keeps its disk, until it is removed", async () => {
  const spec = JSON.stringify({ ...place.spec, ...DATA, timeouts: { start: "5s" } })
  const words = [fixture("firecracker"), "--", kernelOf(place.dir), spec, "400 /boot-source"]
  expect(await banger(place, ["run", "--keep-on-failure", ...words])).toMatchObject({ exit: 1 })
  const [record] = records(place)
  expect((await ls())[0]?.vm).toMatchObject({ id: record?.id, state: "failed" })
  expect((await run({ ...DATA, name: "second" })).stderr).toContain(`in use by VM ${record?.id} (fc, failed)`)
  expect(await banger(place, ["rm", "-f", record?.id ?? ""])).toMatchObject({ exit: 0 })
  expect(await ls()).toMatchObject([{ name: "web-data", vm: null }])
})

test.each<[string, object, string]>([
  ["no size", { persist: "new" }, "drives[0]: there is no disk new yet, and it has no size to be made with"],
  [
    "a smaller size",
    { persist: "old", size: "1M" },
    "drives[0].size: the disk old has 2M already, and never shrinks to 1M",
  ],
  ["an odd size", { persist: "new", size: "1000" }, 'size is "1000"; allowed: a size in whole MiB from 1M to 16T'],
  ["a name of another form", { persist: "../new", size: "1M" }, 'drives[0].persist is "../new"; allowed: a DNS label'],
  ["a stage", { persist: "new", size: "1M", stage: "copy" }, "unknown key drives[0].stage"],
  ["a size alone", { size: "1M" }, "drives[0].persist is missing"],
  ["an image that is not there", { persist: "new", path: "/nowhere" }, "there is no file /nowhere"],
])("a disk with %s is refused, and nothing is made", async (_, drive, words) => {
  writeFileSync(join(place.dir, "old.img"), Buffer.alloc(2 * MIB_BYTES))
  expect(await disk("import", "old", join(place.dir, "old.img"))).toMatchObject({ exit: 0 })
  const { stderr, exit } = await run({ flags: [], drives: [drive] })
  expect({ stderr, exit }).toEqual({ stderr: expect.stringContaining(words), exit: 2 })
  expect({ records: records(place), disks: readdirSync(disks()) }).toEqual({ records: [], disks: ["old.raw"] })
})

test("one disk is one drive", async () => {
  const drives = [
    { persist: "a", size: "1M" },
    { persist: "a", size: "1M" },
  ]
  expect((await run({ flags: [], drives })).stderr).toContain("allowed: a different disk for each drive")
})

test("a disk is made of an image, and grows when the plugin says so", async () => {
  const image = join(place.dir, "image")
  writeFileSync(image, "from the image")
  await boot(place, { drives: [{ persist: "made", path: image, size: "1M" }] })
  expect(await banger(place, ["stop", "double"])).toMatchObject({ exit: 0 })
  expect(readFileSync(file("made"), "latin1")).toBe("from the image".padEnd(MIB_BYTES, "\0"))
  write(file("made"), "own ")
  writeFileSync(image, "another image")
  await boot(place, { drives: [{ persist: "made", path: "/nowhere", size: "2M" }] })
  expect(await banger(place, ["stop", "double"])).toMatchObject({ exit: 0 })
  expect({ size: statSync(file("made")).size, start: start(file("made")) }).toEqual({
    size: 2 * MIB_BYTES,
    start: "own ",
  })
})

test("while a VM has a disk it is neither exported, replaced, resized nor removed; afterwards it is", async () => {
  const { id } = await boot(place, DATA)
  write(file(), "kept")
  const image = join(place.dir, "image")
  writeFileSync(image, Buffer.alloc(MIB_BYTES, "i"))
  const copy = join(place.dir, "copy")
  const all = [
    ["export", "web-data", copy],
    ["export", "web-data", "-"],
    ["import", "web-data", image, "--replace"],
    ["resize", "web-data", "8M"],
    ["rm", "web-data"],
  ]
  for (const words of all)
    expect(await disk(...words)).toMatchObject({
      exit: 1,
      stdout: "",
      stderr: expect.stringContaining(`in use by VM ${id}`),
    })
  expect({ copied: existsSync(copy), disks: readdirSync(disks()) }).toEqual({ copied: false, disks: ["web-data.raw"] })
  expect(await banger(place, ["stop", id])).toMatchObject({ exit: 0 })
  expect(JSON.parse((await disk("export", "web-data", copy, "--json")).stdout)).toEqual({
    ...{ name: "web-data", path: copy, sizeBytes: 4 * MIB_BYTES },
  })
  expect({ start: start(copy), mode: statSync(copy).mode & 0o777 }).toEqual({ start: "kept", mode: 0o600 })
  expect(await disk("export", "web-data", copy)).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining("is there already"),
  })
  expect(await disk("resize", "web-data", "8M")).toMatchObject({ exit: 0 })
  expect(await disk("resize", "web-data", "4M")).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining("never shrinks"),
  })
  expect(await disk("import", "web-data", image)).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining("--replace"),
  })
  expect(statSync(file()).size).toBe(8 * MIB_BYTES)
  expect(await disk("import", "web-data", image, "--replace")).toMatchObject({ exit: 0 })
  expect(start()).toBe("iiii")
  expect(await disk("rm", "web-data")).toMatchObject({ exit: 0 })
  expect({ disks: readdirSync(disks()), ls: await ls() }).toEqual({ disks: [], ls: [] })
  expect(await disk("rm", "web-data")).toMatchObject({ exit: 2, stderr: expect.stringContaining("there is no disk") })
})

test.each(["..", "a/b", "UP", "", "x".repeat(64), "ünicode"])("%p names no disk", async (name) => {
  for (const words of [
    ["rm", name],
    ["export", name, "-"],
    ["import", name, "-"],
    ["resize", name, "1M"],
  ])
    expect(await disk(...words)).toMatchObject({ exit: 2 })
  if (existsSync(disks())) expect(readdirSync(disks())).toEqual([])
})

test("holes stay holes from disk to file to disk, and a stream's zeros become some", async () => {
  const image = join(place.dir, "image")
  writeFileSync(image, "begin")
  truncateSync(image, 64 * MIB_BYTES)
  write(image, "middle", 32 * MIB_BYTES)
  const copy = join(place.dir, "copy")
  expect(await disk("import", "one", image)).toMatchObject({ exit: 0 })
  expect(await disk("export", "one", copy)).toMatchObject({ exit: 0 })
  const piped = `"$@" disk export one - | "$@" disk import two -`
  const pipe = Bun.spawnSync(["sh", "-c", piped, "sh", ...place.program], { env: environmentOf(place), cwd: place.dir })
  expect(pipe.exitCode).toBe(0)
  for (const path of [file("one"), copy, file("two")]) {
    expect(readFileSync(path).equals(readFileSync(image)), path).toBe(true)
    expect(statSync(path).blocks * 512, path).toBeLessThan(MIB_BYTES)
  }
})

test("an import that is killed leaves no disk, and the one that it was to replace; the next one is not held up", async () => {
  writeFileSync(join(place.dir, "image"), Buffer.alloc(MIB_BYTES, "o"))
  expect(await disk("import", "data", join(place.dir, "image"))).toMatchObject({ exit: 0 })
  for (const name of ["data", "new"]) {
    const child = Bun.spawn([...place.program, "disk", "import", name, "-", "--replace"], {
      ...{ stdin: "pipe", stdout: "ignore", stderr: "ignore", env: environmentOf(place), cwd: place.dir },
    })
    child.stdin.write(Buffer.alloc(MIB_BYTES, "n"))
    await child.stdin.flush()
    await until(() => existsSync(join(disks(), `.${name}.lock`)))
    const busy = await disk("rm", name)
    expect(busy).toMatchObject({ exit: 75, stderr: expect.stringContaining(`an import by process ${child.pid}`) })
    child.kill("SIGKILL")
    await child.exited
  }
  expect(readdirSync(disks()).filter((name) => !name.endsWith(".lock"))).toEqual(["data.raw"])
  expect(start(file("data"))).toBe("oooo")
  expect(await disk("export", "data", join(place.dir, "copy"))).toMatchObject({ exit: 0 })
  // The locks that nobody holds go with the next command, or a sweep.
  expect(await disk("rm", "new")).toMatchObject({ exit: 2 })
  expect(readdirSync(disks())).toEqual(["data.raw"])
})

test("a start waits for no command at its disk: it is refused, and says what is done there", async () => {
  writeFileSync(join(place.dir, "image"), Buffer.alloc(MIB_BYTES, "o"))
  const child = Bun.spawn([...place.program, "disk", "import", "web-data", "-"], {
    ...{ stdin: "pipe", stdout: "ignore", stderr: "ignore", env: environmentOf(place), cwd: place.dir },
  })
  await until(() => existsSync(join(disks(), ".web-data.lock")))
  const refused = await run({ ...DATA, flags: [] })
  expect(refused).toMatchObject({
    exit: 75,
    stderr: expect.stringContaining("the disk web-data is being used: an import by"),
  })
  child.stdin.write(Buffer.alloc(4 * MIB_BYTES, "n"))
  await child.stdin.end()
  expect(await child.exited).toBe(0)
  expect({ start: start(), vm: (await ls())[0]?.vm }).toEqual({ start: "nnnn", vm: null })
})

test("two that want a disk at once: one has it", async () => {
  const names = ["one", "two", "three", "four"]
  const all = await Promise.all(names.map((name) => run({ ...DATA, name })))
  expect(all.filter(({ exit }) => exit === 0)).toHaveLength(1)
  for (const { stderr } of all.filter(({ exit }) => exit !== 0))
    expect(stderr).toContain("the disk web-data is in use by VM")
  expect(readdirSync(disks())).toEqual(["web-data.raw"])
  const [vm] = (await listed(place)).filter(({ state }) => state === "running")
  expect(await banger(place, ["stop", vm?.id ?? ""])).toMatchObject({ exit: 0 })
})

test("a VM that is to be replaced is left as it is when another has the new one's disk", async () => {
  const holder = await boot(place, { ...DATA, name: "holder" })
  const old = await boot(place)
  const refused = await run({ ...DATA, flags: ["--replace", "--detach"] })
  expect(refused).toMatchObject({ exit: 1, stderr: expect.stringContaining(`in use by VM ${holder.id}`) })
  expect(records(place).find(({ id }) => id === old.id)).toMatchObject({ state: "running" })
  // Its own disk keeps no VM from being replaced.
  const own = bootWords(place, { ...DATA, name: "holder", vcpus: 2, flags: ["--replace", "--detach"] })
  expect(await banger(place, own)).toMatchObject({ exit: 0 })
  expect(await banger(place, ["stop", "--all"])).toMatchObject({ exit: 0 })
})

test("a VM with a disk is neither saved nor restored", async () => {
  const { id } = await boot(place, DATA)
  const saved = await banger(place, ["snapshot", id, join(place.dir, "snapshot")])
  expect(saved).toMatchObject({ exit: 2, stderr: expect.stringContaining("the disk web-data persists") })
  expect(existsSync(join(place.dir, "snapshot"))).toBe(false)
  expect(await banger(place, ["stop", id])).toMatchObject({ exit: 0 })
  const restored = await run({ ...DATA, flags: ["--restore", join(place.dir, "snapshot")] })
  expect(restored).toMatchObject({ exit: 2, stderr: expect.stringContaining("--restore: the disk web-data persists") })
})

test("a plan names the disk and makes none", async () => {
  const { stdout, exit } = await run({ ...DATA, flags: ["--plan"] })
  expect(exit).toBe(0)
  expect(stdout).toContain(`claim the disk web-data for it alone (made in ${disks()} unless it is there)`)
  expect(stdout).toContain("keep the disk web-data")
  expect(existsSync(disks())).toBe(false)
})

test("that disks may come to need more room than there is, is said in one line before the start", async () => {
  const { stderr, exit } = await run({ drives: [{ persist: "huge", size: "8T" }] })
  expect(exit).toBe(0)
  expect(stderr).toMatch(/the disk huge may come to take 8T more, and .* has .* left: /)
  expect(statSync(file("huge"))).toMatchObject({ size: 8 * 1024 ** 4, blocks: 0 })
  expect(await banger(place, ["stop", "double"])).toMatchObject({ exit: 0 })
})

test("a sweep takes what killed commands left beside disks, and no disk", async () => {
  const fd = openSync(join(place.dir, "image"), "w")
  ftruncateSync(fd, MIB_BYTES)
  closeSync(fd)
  expect(await disk("import", "data", join(place.dir, "image"))).toMatchObject({ exit: 0 })
  const { exitCode = 0, pid } = Bun.spawnSync(["true"])
  expect(exitCode).toBe(0)
  writeFileSync(join(disks(), ".gone.lock"), "")
  writeFileSync(join(disks(), `.data.raw.${pid}.tmp`), "")
  for (const name of [".gone.lock", `.data.raw.${pid}.tmp`, "data.raw"])
    Bun.spawnSync(["touch", "-d", "2 days ago", join(disks(), name)])
  expect(await banger(place, ["sweep", "--grace", "0s"])).toMatchObject({ exit: 0 })
  // Only what changes the inode tells its age: these are as young as the test.
  for (const name of readdirSync(disks()).filter((each) => each !== "data.raw")) expect(name).toMatch(/^\./)
  expect(existsSync(file("data"))).toBe(true)
  for (const name of [".gone.lock", `.data.raw.${pid}.tmp`]) Bun.spawnSync(["rm", "-f", join(disks(), name)])
  expect(bangersOf(place)).toEqual([])
})
