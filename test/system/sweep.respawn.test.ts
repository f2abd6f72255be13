import { beforeAll, expect, test } from "bun:test"
import { chmodSync, chownSync, mkdirSync } from "node:fs"
import { join } from "node:path"
import { OWNER } from "../fixtures/jail.ts"
import { DIRECTORIES, hammer } from "../fixtures/sockets/hammer.ts"
import { directoriesOfFile } from "./support/directories.ts"
import { buildFixture } from "./support/doubles.ts"
import { mountImage } from "./support/mountImage.ts"
import { eachInItsPlace, type Place } from "./support/place.ts"

const newDirectory = directoriesOfFile()

// A service unlinks and binds again at the same path as fast as it can, while its directory is cleaned all the while. The
// sweep takes none of its lives; each of the other ways shows that the hammer hits. ×N with BANGER_TEST_SOAK=N.

const place = eachInItsPlace()
const soak = Number(process.env.BANGER_TEST_SOAK ?? 1)
const LIVES = 300_000 * soak
const TWIN_LIVES = 20_000 * soak
const TRIES_COUNT = 20
const MINUTES = 5 * 60_000 * soak
let service = ""

beforeAll(() => {
  service = buildFixture("sockets/respawn", newDirectory())
})

const cleaning = [process.execPath, join(import.meta.dir, "../fixtures/sockets/cleaner.ts")]
const UIDS = { root: 0, other: OWNER.uid } as const

async function hammerHere(cleaner: string, dir: string, lives: number, uid: number) {
  const result = await hammer(cleaning, service, dir, { cleaner, lives, uid })
  console.log(`${cleaner}, ${dir.split("/").slice(-2).join(" ")}: ${JSON.stringify(result)}`)
  return result
}

function makeDirectory(where: Place, kind: string, whose: keyof typeof DIRECTORIES, mode?: number): string {
  chmodSync(where.dir, 0o711)
  const dir = join(mountImage(where, kind, "320M"), whose.replace(/\W+/g, "-"))
  mkdirSync(dir)
  const { owner, mode: usual } = DIRECTORIES[whose]
  chownSync(dir, UIDS[owner], UIDS[owner])
  chmodSync(dir, mode ?? usual)
  return dir
}

const CASES = (["tmpfs", "ext4"] as const).flatMap((kind) => {
  return (Object.keys(DIRECTORIES) as (keyof typeof DIRECTORIES)[]).map((whose) => [kind, whose] as const)
})

test.each(CASES)(
  "on %s, in a sticky directory that is %s, a sweep destroys no live socket",
  async (kind, whose) => {
    const dir = makeDirectory(place, kind, whose)
    const result = await hammerHere("sweep", dir, LIVES, UIDS[DIRECTORIES[whose].service])
    Bun.spawnSync(["umount", join(dir, "..")])
    expect(result).toMatchObject({ lives: LIVES, destroyed: 0, absent: 0, chmodFailed: 0, removal: "exact" })
    // Who does not own the directory may find that its dead socket is, for microseconds, not its own to remove.
    if (whose !== "everybody's") expect(result).toMatchObject({ bindFailed: 0, unlinkFailed: 0 })
    expect(result.rounds).toBeGreaterThan(1000)
  },
  MINUTES,
)

test.each(["tmpfs", "ext4"])(
  "on %s the hammer hits those that probe and then unlink",
  async (kind) => {
    const dir = makeDirectory(place, kind, "root's")
    const lost: Record<string, number> = {}
    for (const cleaner of ["probeThenUnlink", "probeTwice", "recheckInode", "moveAside"]) {
      const mustHit = cleaner === "probeThenUnlink" || cleaner === "moveAside"
      // Both must run at a time, and other tests want the processors too.
      for (let left = mustHit ? TRIES_COUNT : 1; left > 0 && (lost[cleaner] ?? 0) === 0; left--) {
        const { destroyed, bindFailed } = await hammerHere(cleaner, dir, TWIN_LIVES, 0)
        lost[cleaner] = destroyed + (cleaner === "moveAside" ? bindFailed : 0)
      }
    }
    // Where the directory is not sticky, this is all that a sweep can do.
    chmodSync(dir, 0o755)
    const { removal } = await hammerHere("sweep", dir, TWIN_LIVES, 0)
    Bun.spawnSync(["umount", join(dir, "..")])
    expect(removal).toBe("re-checked")
    expect(lost.probeThenUnlink).toBeGreaterThan(0)
    expect(lost.moveAside).toBeGreaterThan(0)
  },
  MINUTES,
)
