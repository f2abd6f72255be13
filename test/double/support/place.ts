import { afterAll, beforeAll, expect } from "bun:test"
import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { PROGRAM } from "../../program.ts"
import { environmentOf } from "../../system/support/banger.ts"
import { buildDoubles } from "../../system/support/doubles.ts"
import { eachOfTier, type Place } from "../../system/support/place.ts"

// Tests of this tier try the operations on the double of Firecracker: as any user, without a jail, without network. They
// need a C compiler and nothing else.

/** Beneath it paths of sockets stay short enough. */
const TMP = realpathSync(tmpdir())

/** Gives each test of a file a fresh place, and asserts after each that no process, socket or file of its VMs is left. */
export function eachOnDoubles(): Place {
  const env: Record<string, string> = {}
  let doubles = ""
  beforeAll(() => {
    doubles = mkdtempSync(join(TMP, "banger-doubles-"))
    Object.assign(env, buildDoubles(doubles, { flags: ["-O0"] }).env)
  })
  afterAll(() => rmSync(doubles, { recursive: true, force: true }))
  return eachOfTier({
    program: PROGRAM,
    prefix: join(TMP, "bd-"),
    env,
    spec: { jail: false },
    look: () => expectNoneOf,
  })
}

/** The processes that have the environment of this place's bangers: those, and what their hooks left. */
export function bangersOf(place: Place): readonly string[] {
  const own = `\0BANGER_STATE_DIR=${environmentOf(place).BANGER_STATE_DIR}\0`
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name))
  return pids.filter((pid) => `\0${environOf(pid)}`.includes(own))
}

// --- internal ---

function expectNoneOf(place: Place): void {
  expect(bangersOf(place)).toEqual([])
  const sockets = readFileSync("/proc/net/unix", "utf8").split("\n")
  expect(sockets.filter((line) => line.includes(`${place.dir}/`))).toEqual([])
}

function environOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1")
  } catch {
    // It has ended, or is another user's.
    return ""
  }
}
