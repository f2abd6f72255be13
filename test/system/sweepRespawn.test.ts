import { beforeAll, expect, test } from "bun:test"
import { chmodSync, chownSync, mkdirSync, mkdtempSync } from "node:fs"
import { join } from "node:path"
import { OWNER } from "../fixtures/jail.ts"
import { buildFixture } from "./doubles.ts"
import { mountImage } from "./mountImage.ts"
import { eachInItsPlace, type Place } from "./place.ts"

// A service unlinks and binds again at the same path as fast as it can, while its directory is cleaned all the while. The
// sweep takes none of its lives; each of the other ways shows that the hammer hits. ×N with BANGER_TEST_SOAK=N.

const place = eachInItsPlace()
const soak = Number(process.env.BANGER_TEST_SOAK ?? 1)
const LIVES = 300_000 * soak
const TWIN_LIVES = 20_000 * soak
const MINUTES = 5 * 60_000 * soak
let service = ""

beforeAll(() => {
  service = buildFixture("sockets/respawn", mkdtempSync("/run/banger-doubles-"))
})

interface Hammered {
  readonly lives: number
  readonly destroyed: number
  readonly absent: number
  readonly bindFailed: number
  readonly unlinkFailed: number
  readonly chmodFailed: number
  readonly seconds: number
  readonly rounds: number
  readonly removed: number
  readonly removal: string
}

/** Lets a cleaner loose on a service's directory for so many of its lives. */
async function hammer(cleaner: string, dir: string, lives: number, uid: number): Promise<Hammered> {
  const script = join(import.meta.dir, "../fixtures/sockets/cleaner.ts")
  const cleaning = Bun.spawn([process.execPath, script, cleaner, dir], { stdin: "pipe", stdout: "pipe" })
  const lines = linesOf(cleaning.stdout)
  expect((await lines.next()).value).toBe("ready")
  const serving = Bun.spawn([service, join(dir, "x.sock"), String(lives), String(uid)], { stdout: "pipe" })
  const served = await serving.stdout.text()
  expect(await serving.exited).toBe(0)
  cleaning.stdin.end()
  const cleaned = (await lines.next()).value ?? "{}"
  expect(await cleaning.exited).toBe(0)
  const result = { ...JSON.parse(served), ...JSON.parse(cleaned) } as Hammered
  console.log(`${cleaner}, ${dir.split("/").slice(-2).join(" ")}: ${JSON.stringify(result)}`)
  return result
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  let text = ""
  const decoder = new TextDecoder()
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true })
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
      yield text.slice(0, end)
      text = text.slice(end + 1)
    }
  }
  return undefined
}

/** A sticky directory, and whose the service is that lives in it. */
const DIRECTORIES = {
  "root's": { mode: 0o1755, owner: 0, service: 0 },
  "the service's own": { mode: 0o1755, owner: OWNER.uid, service: OWNER.uid },
  "everybody's": { mode: 0o1777, owner: 0, service: OWNER.uid },
} as const

function makeDirectory(where: Place, kind: string, whose: keyof typeof DIRECTORIES, mode?: number): string {
  chmodSync(where.dir, 0o711)
  const dir = join(mountImage(where, kind, "320M"), whose.replace(/\W+/g, "-"))
  mkdirSync(dir)
  const { owner, mode: usual } = DIRECTORIES[whose]
  chownSync(dir, owner, owner)
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
    const result = await hammer("sweep", dir, LIVES, DIRECTORIES[whose].service)
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
      const { destroyed, bindFailed } = await hammer(cleaner, dir, TWIN_LIVES, 0)
      lost[cleaner] = destroyed + (cleaner === "moveAside" ? bindFailed : 0)
    }
    // Where the directory is not sticky, this is all that a sweep can do.
    chmodSync(dir, 0o755)
    const { removal } = await hammer("sweep", dir, TWIN_LIVES, 0)
    Bun.spawnSync(["umount", join(dir, "..")])
    expect(removal).toBe("re-checked")
    expect(lost.probeThenUnlink).toBeGreaterThan(0)
    expect(lost.moveAside).toBeGreaterThan(0)
  },
  MINUTES,
)
