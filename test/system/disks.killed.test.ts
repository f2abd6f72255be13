import { expect, test } from "bun:test"
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, start } from "./support/banger.ts"
import { doublesOfFile } from "./support/doubles.ts"
import { eachInItsPlace, type Place, records } from "./support/place.ts"
import { doubleWords, rowsOf } from "./support/vms.ts"

// banger is killed at every moment at which it changes something, with a persistent disk.

const doubles = doublesOfFile()
const place = eachInItsPlace()
const killDisk = join(import.meta.dir, "../fixtures/killDisk.ts")
const MIB_BYTES = 1024 * 1024
const fileIn = (at: Place) => join(at.state, "disks/data.raw")

/** Runs banger from source with these words, to its end or to the moment it is killed at. */
async function kill(at: Place, words: readonly string[], moment: number): Promise<number> {
  const moments = join(at.dir, "moments")
  writeFileSync(moments, "")
  const env = {
    ...doubles.env,
    ...{ BANGER_TEST_KILL_AT: String(moment), BANGER_TEST_MOMENTS: moments, BANGER_TEST_FROM: ".lock" },
  }
  const { exit, stderr } = await start(at, words, env, { through: [process.execPath, killDisk], self: false }).ended
  if (moment === 0) expect({ stderr, exit }).toMatchObject({ exit: 0 })
  const reached = readFileSync(moments, "utf8").split("\n").length - 1
  // How often a run writes to its logs varies by a few: one may be over before its last moment.
  if (exit !== null && moment > 0) expect({ exit, over: reached < moment }).toEqual({ exit: 0, over: true })
  return exit === null ? moment : moment === 0 ? reached : 0
}

/** Two workers, each in a place of its own, try all moments. */
async function atEach(moments: number, work: (at: Place, moment: number) => Promise<void>): Promise<void> {
  let next = 1
  const worker = async (name: string) => {
    const dir = join(place.dir, name)
    mkdirSync(dir)
    const at = { ...place, dir, state: join(dir, "state"), runtime: join(dir, "run") }
    while (next <= moments) await work(at, next++)
  }
  await Promise.all([worker("a"), worker("b")])
}

/** What is in the directory of the disks besides the locks that nobody holds. */
function namesIn(at: Place): readonly string[] {
  const disks = join(at.state, "disks")
  return existsSync(disks) ? readdirSync(disks).filter((name) => name !== ".data.lock") : []
}

test("a start and an end that are killed at any moment leave a whole disk or none, root's, and nobody's", async () => {
  const image = join(place.dir, "image")
  writeFileSync(image, Buffer.alloc(MIB_BYTES, "x"))
  const words = (at: Place) => {
    const drives = [{ persist: "data", size: "4M", path: image }]
    return doubleWords(at, [], "RESET PRINT[up]", { drives })
  }
  const moments = await kill(place, words(place), 0)
  expect(moments).toBeGreaterThan(80)
  let killed = 0
  await atEach(moments, async (at, moment) => {
    if ((await kill(at, words(at), moment)) === moment) killed++
    // A guest that runs comes to its end by itself.
    for (let tries = 0; tries < 20; tries++) {
      expect(await banger(at, ["sweep", "--grace", "0s"]), `moment ${moment}`).toMatchObject({ exit: 0 })
      if (records(at).every(({ handles, state }) => handles === "[]" && ["stopped", "failed"].includes(state))) break
      await Bun.sleep(100)
    }
    expect(await banger(at, ["disk", "ls", "--json"])).toMatchObject({ exit: 0 })
    if (namesIn(at).length > 0) {
      expect(namesIn(at), `moment ${moment}`).toEqual(["data.raw"])
      const { uid, gid, mode, nlink, size } = statSync(fileIn(at))
      const told = { uid, gid, mode: mode & 0o7777, nlink, size }
      expect(told, `moment ${moment}`).toEqual({ uid: 0, gid: 0, mode: 0o600, nlink: 1, size: 4 * MIB_BYTES })
      const content = readFileSync(fileIn(at))
      expect(content.subarray(0, MIB_BYTES).equals(Buffer.alloc(MIB_BYTES, "x"))).toBe(true)
      expect(content.subarray(MIB_BYTES).equals(Buffer.alloc(3 * MIB_BYTES))).toBe(true)
      // Nobody has it: so it can be removed, and the next start makes it anew.
      expect(await banger(at, ["disk", "rm", "data"]), `moment ${moment}`).toMatchObject({ exit: 0 })
    }
    expect(rowsOf(at, "select id from vms where handles <> '[]'")).toEqual([])
  })
  expect(killed).toBeGreaterThan(moments - 6)
  expect(await banger(place, ["disk", "rm", "data"])).toMatchObject({ exit: 0 })
}, 300_000)

test("an import that is killed at any moment leaves the old disk or the new one, whole", async () => {
  const image = join(place.dir, "image")
  writeFileSync(image, Buffer.alloc(2 * MIB_BYTES, "n"))
  const old = join(place.dir, "old")
  writeFileSync(old, Buffer.alloc(MIB_BYTES, "o"))
  const words = ["disk", "import", "data", image, "--replace"]
  const moments = await kill(place, words, 0)
  expect(moments).toBeGreaterThan(8)
  const seen = new Set<string>()
  await atEach(moments, async (at, moment) => {
    expect(await banger(at, ["disk", "import", "data", old, "--replace"])).toMatchObject({ exit: 0 })
    await kill(at, words, moment)
    const content = readFileSync(fileIn(at))
    const is = content.equals(readFileSync(old)) ? "old" : content.equals(readFileSync(image)) ? "new" : "torn"
    expect(is, `moment ${moment}`).not.toBe("torn")
    seen.add(is)
    // Between its two names there may be another one, which the next import takes away.
    for (const name of namesIn(at)) expect(name).toMatch(/^(?:data\.raw|\.data\.raw\.\d+\.tmp)$/)
    expect(await banger(at, words)).toMatchObject({ exit: 0 })
    expect(readdirSync(join(at.state, "disks"))).toEqual(["data.raw"])
  })
  expect([...seen].toSorted()).toEqual(["new", "old"])
}, 120_000)
