import { beforeAll, expect, test } from "bun:test"
import { existsSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { O } from "../../src/base/linux/constants.ts"
import { close, openAt, statAt, statDescriptor } from "../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../src/base/linux/guards.ts"
import { closeDirectory, openDirectory } from "../../src/host/sockets/directory.ts"
import { lastLook, startProbe } from "../../src/host/sockets/judge.ts"
import { callWitness } from "../../src/host/sockets/witness.ts"
import { inState, type Network, TABLE } from "../fixtures/sockets/table.ts"
import { banger } from "./support/banger.ts"
import { directoriesOfFile } from "./support/directories.ts"
import { buildFixture } from "./support/doubles.ts"
import { mountImage } from "./support/mountImage.ts"
import { eachInItsPlace } from "./support/place.ts"
import { directoryIn, sweepNow, verdicts } from "./support/sweeping.ts"

const newDirectory = directoriesOfFile()

const place = eachInItsPlace()
let states = ""

beforeAll(() => {
  states = buildFixture("sockets/states", newDirectory())
})

const bring = (state: string, path: string, network?: Network) => inState(states, state, path, network)

test.each(TABLE.flatMap(([state, verdict]) => [0o1755, 0o755].map((mode) => [state, verdict, mode] as const)))(
  "%s: %s (mode %i); a server sees nothing of it",
  async (state, verdict, mode) => {
    const dir = directoryIn(place.dir, "sockets", mode)
    const path = join(dir, "x.sock")
    const end = await bring(state, path)
    expect(verdicts(await sweepNow([dir]))[path]).toBe(verdict)
    expect(existsSync(path)).toBe(verdict !== "removed")
    expect(await end()).toBe(0)
  },
)

test.each(TABLE.filter(([, verdict]) => verdict === "alive"))(
  "%s, in another network namespace: alive",
  async (state) => {
    const dir = directoryIn(place.dir, "sockets")
    const path = join(dir, "x.sock")
    const end = await bring(state, path, "another network")
    expect(verdicts(await sweepNow([dir]))[path]).toBe("alive")
    expect(await end()).toBe(0)
  },
)

test("through a bind mount a socket is as alive as where it was bound", async () => {
  const [dir, alias] = [directoryIn(place.dir, "sockets"), directoryIn(place.dir, "alias")]
  const end = await bring("stream, listening", join(dir, "live.sock"))
  await (await bring("nothing bound", join(dir, "dead.sock")))()
  expect(Bun.spawnSync(["mount", "--bind", dir, alias]).exitCode).toBe(0)
  const found = verdicts(await sweepNow([alias]))
  Bun.spawnSync(["umount", alias])
  await end()
  expect(found).toEqual({ [join(alias, "live.sock")]: "alive", [join(alias, "dead.sock")]: "removed" })
})

test("a socket that another file is mounted on is left alone", async () => {
  const dir = directoryIn(place.dir, "sockets")
  const [below, above] = [join(dir, "below.sock"), join(place.dir, "above.sock")]
  await (await bring("nothing bound", below))()
  await (await bring("nothing bound", above))()
  expect(Bun.spawnSync(["mount", "--bind", above, below]).exitCode).toBe(0)
  const found = verdicts(await sweepNow([dir]))
  Bun.spawnSync(["umount", below])
  expect(found).toEqual({ [below]: "kept: mount" })
  expect(existsSync(above)).toBe(true)
})

/** An overlay with a socket that is bound through it. */
async function overlay() {
  const tree = join(place.dir, "overlay")
  mkdirSync(tree)
  for (const name of ["lower", "upper", "work", "merged"]) directoryIn(tree, name)
  const options = `lowerdir=${tree}/lower,upperdir=${tree}/upper,workdir=${tree}/work`
  const mounted = Bun.spawnSync(["mount", "-t", "overlay", "-o", options, "overlay", `${tree}/merged`])
  expect(mounted.stderr.toString()).toBe("")
  mkdirSync(`${tree}/merged/run`)
  const end = await bring("stream, listening", `${tree}/merged/run/x.sock`)
  return { tree, end }
}

test("an overlay, and what is in its layers, is refused, also through a bind mount; nothing of it is removed", async () => {
  const { tree, end } = await overlay()
  const alias = directoryIn(place.dir, "alias")
  expect(Bun.spawnSync(["mount", "--bind", `${tree}/upper/run`, alias]).exitCode).toBe(0)
  const dirs = [`${tree}/merged/run`, `${tree}/upper/run`, `${tree}/upper`, `${tree}/lower`, alias]
  const { directories, totals } = await sweepNow(dirs)
  Bun.spawnSync(["umount", alias])
  const alive = await end()
  const left = existsSync(`${tree}/upper/run/x.sock`)
  Bun.spawnSync(["umount", `${tree}/merged`])
  expect(directories.map(({ path, is, why }) => `${path.slice(place.dir.length)} ${is} ${why}`)).toEqual([
    "/overlay/merged/run refused it is on overlay, where a socket that is alive elsewhere looks dead",
    "/overlay/upper/run refused it is in a layer of an overlay, where a socket that is alive looks dead",
    "/overlay/upper refused it is in a layer of an overlay, where a socket that is alive looks dead",
    "/overlay/lower refused it is in a layer of an overlay, where a socket that is alive looks dead",
    "/alias refused it is in a layer of an overlay, where a socket that is alive looks dead",
  ])
  expect({ alive, left, errors: totals.errors }).toEqual({ alive: 0, left: true, errors: dirs.length })
})

test("banger's own runtime directory on an overlay is no error of a sweep; one that is named is", async () => {
  const { tree, end } = await overlay()
  const own = `${tree}/merged/run`
  const swept = async (...words: readonly string[]) => {
    const { stdout, stderr, exit } = await banger(place, ["sweep", ...words], { BANGER_RUNTIME_DIR: own })
    return { stdout, stderr, exit }
  }
  const said = await swept("--grace", "0s")
  const quiet = await swept("--grace", "0s", "--quiet")
  const { directories, totals } = JSON.parse((await swept("--grace", "0s", "--json")).stdout)
  const named = await swept("--grace", "0s", own)
  const alive = await end()
  const left = existsSync(`${own}/x.sock`)
  Bun.spawnSync(["umount", `${tree}/merged`])
  expect(said.stderr).toContain(`${own} is not swept: it is on overlay`)
  expect(said.stderr).toContain("BANGER_RUNTIME_DIR=/dev/shm/banger")
  expect(said.exit).toBe(0)
  expect(quiet).toEqual({ stdout: "", stderr: "", exit: 0 })
  expect(directories).toMatchObject([{ path: own, is: "kept", hint: expect.stringContaining("nothing is lost") }])
  expect(totals.errors).toBe(0)
  expect(named).toMatchObject({ exit: 1, stderr: expect.stringContaining("sweep it where its sockets are made") })
  expect({ alive, left }).toEqual({ alive: 0, left: true })
})

test("an overlay of another mount namespace is known too", async () => {
  const tree = join(place.dir, "overlay")
  mkdirSync(tree)
  for (const name of ["lower", "upper", "work", "merged"]) directoryIn(tree, name)
  const options = `lowerdir=${tree}/lower,upperdir=${tree}/upper,workdir=${tree}/work`
  const script = `mount -t overlay -o ${options} overlay ${tree}/merged && exec ${states} "stream, listening" ${tree}/merged/x.sock`
  const child = Bun.spawn(["unshare", "--mount", "sh", "-c", script], { stdin: "pipe", stdout: "pipe" })
  const reader = child.stdout.getReader()
  await reader.read()
  const { directories } = await sweepNow([`${tree}/upper`])
  const left = existsSync(`${tree}/upper/x.sock`)
  child.stdin.end()
  await child.exited
  expect(directories[0]).toMatchObject({ is: "refused", why: expect.stringContaining("a layer of an overlay") })
  expect(left).toBe(true)
})

test.each([
  ["proc", "/proc/self"],
  ["sysfs", "/sys/kernel"],
])("a directory on %s is refused by name", async (name, dir) => {
  const { directories } = await sweepNow([dir])
  const [first] = directories
  expect(first).toMatchObject({ is: "refused" })
  expect(first?.why).toMatch(dir === "/proc/self" ? /symlink/ : new RegExp(`it is on ${name}`))
})

test("a FUSE file system is refused, without being listed", async () => {
  const dir = directoryIn(place.dir, "mounted")
  const server = buildFixture("sockets/fuse", place.dir)
  const child = Bun.spawn([server, dir], { stdin: "pipe", stdout: "pipe" })
  expect(new TextDecoder().decode((await child.stdout.getReader().read()).value)).toBe("ready\n")
  // Not in this process: it would wait for itself if the server did not answer.
  const driver = join(import.meta.dir, "../../cli.ts")
  const { stdout } = Bun.spawnSync([process.execPath, driver, "sweep", dir, "--dry-run", "--json"], { timeout: 20_000 })
  Bun.spawnSync(["umount", dir])
  child.stdin.end()
  await child.exited
  const [first] = JSON.parse(stdout.toString()).directories
  expect(first).toMatchObject({ is: "refused", why: expect.stringContaining("it is on FUSE (or virtiofs)") })
})

test("a ramfs is refused: its sockets are right, but nobody has tried it", async () => {
  const dir = directoryIn(place.dir, "ram")
  expect(Bun.spawnSync(["mount", "-t", "ramfs", "none", dir]).exitCode).toBe(0)
  writeFileSync(join(dir, "x"), "")
  const { directories } = await sweepNow([dir])
  Bun.spawnSync(["umount", dir])
  expect(directories[0]).toMatchObject({ is: "refused", why: expect.stringContaining("it is on ramfs") })
})

test.each(["ext4", "btrfs", "xfs", "tmpfs"])("on %s the dead go and the living stay, exactly", async (kind) => {
  const point = mountImage(place, kind, "320M")
  const dir = directoryIn(point, "sockets")
  const end = await bring("stream, listening", join(dir, "live.sock"))
  const dead = openAt(AT_FDCWD, await deadIn(dir), O.PATH)
  const witnessed = callWitness(kind === "btrfs")
  const [live, other] = [statAt(AT_FDCWD, join(dir, "live.sock")), statDescriptor(dead)]
  const spoken = { live: witnessed(live), dead: witnessed(other) }
  close(dead)
  const report = await sweepNow([dir])
  await end()
  Bun.spawnSync(["umount", point])
  // The second witness knows the living one too, whatever device numbers the file system has.
  expect(spoken).toEqual({ live: true, dead: false })
  expect(report.directories[0]).toMatchObject({ fileSystem: kind, removal: "exact" })
  expect(verdicts(report)).toEqual({ [join(dir, "live.sock")]: "alive", [join(dir, "dead.sock")]: "removed" })
})

async function deadIn(dir: string): Promise<string> {
  await (await bring("nothing bound", join(dir, "dead.sock")))()
  return join(dir, "dead.sock")
}

test("what the second witness speaks for is left alone, though the first found it dead", async () => {
  const dir = directoryIn(place.dir, "sockets")
  const path = await deadIn(dir)
  const directory = openDirectory(dir, new Set())
  const probe = startProbe()
  const fd = openAt(AT_FDCWD, path, O.PATH)
  const dead = { name: new TextEncoder().encode("dead.sock"), fd, stat: statDescriptor(fd) }
  expect(probe.ask(fd)).toBeUndefined()
  const verdict = lastLook(directory, dead, { probe, witness: () => true, dry: false })
  close(fd)
  probe.close()
  closeDirectory(directory)
  expect(verdict).toMatchObject({ is: "kept", reason: "diag" })
  expect(existsSync(path)).toBe(true)
})
