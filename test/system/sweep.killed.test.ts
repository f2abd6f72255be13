import { beforeEach, expect, test } from "bun:test"
import { existsSync, readFileSync } from "node:fs"
import { constants } from "node:os"
import { join } from "node:path"
import { LEAVE, type Left, type Living, later, living, ownCgroups, prepareState } from "./support/leftovers.ts"
import { eachInItsPlace } from "./support/place.ts"

ownCgroups()
const place = eachInItsPlace()
beforeEach(() => prepareState(place))

const KINDS = ["jail", "stage", "trash", "cgroup", "runtime", "vm", "uid", "log", "temporary", "lock"]

/** One dead thing of each kind, several of one VM, and one that lives; `work`; then a sweep that heals. */
async function among(index: number, message: () => string, work: () => Promise<void>): Promise<void> {
  const id = `of-each-${String(index).padStart(8, "0")}`
  const lives = `lives-${String(index).padStart(8, "0")}`
  const dead = KINDS.map((kind) =>
    LEAVE[kind === "stage" ? "runtime" : kind]?.(
      place,
      kind === "stage" ? `${id.slice(0, 5)}-${id.slice(-8)}` : id,
      index,
    ),
  )
  const jail = LEAVE.jail?.(place, lives, index + 1000)
  const alive: Living = living()
  alive.process({ cwd: jail?.name ?? "" })
  try {
    await work()
    expect(existsSync(join(jail?.name ?? "", "root/kernel")), message()).toBe(true)
    const healed = await later(place, ["sweep", "--json"])
    expect(
      { stderr: healed.stderr.replace(/ (?:WARN|INFO) .*\n?/g, "").trim(), exit: healed.exit },
      message(),
    ).toMatchObject({ exit: 0 })
    for (const left of dead.filter((one): one is Left => one !== undefined))
      if (left.name.startsWith("/")) expect(existsSync(left.name), `${left.name} ${message()}`).toBe(false)
    expect(existsSync(join(jail?.name ?? "", "root/kernel")), message()).toBe(true)
  } finally {
    await alive.end()
  }
  // Whole, so that a failure shows why.
  expect(JSON.parse((await later(place, ["sweep", "--json"])).stdout).leftovers).toMatchObject([{ is: "removed" }])
}

function callsOf(counted: string): { all: number; changes: number } {
  return JSON.parse(readFileSync(counted, "utf8"))
}

test("killed after any call that changes something, a sweep loses nothing that lives, and the next one heals", async () => {
  const counted = join(place.dir, "calls")
  await among(
    0,
    () => "nothing",
    async () => {
      expect((await later(place, ["sweep"], { BANGER_TEST_CALLS: counted })).exit).toBe(0)
    },
  )
  const { changes } = callsOf(counted)
  expect(changes).toBeGreaterThan(60)
  for (let at = 1; at <= changes; at++) {
    await among(
      at,
      () => `call ${at} of ${changes}`,
      async () => {
        await later(place, ["sweep"], { BANGER_TEST_KILL_AT: String(at) })
      },
    )
  }
}, 800_000)

/** 1 fails each of them in turn. */
const STEP = Number(process.env.BANGER_TEST_FAIL_STEP ?? 23)

test.each(["EACCES", "EIO", "EMFILE"] as const)(
  "system calls of a sweep, one in each, fail with %s: nothing that lives is lost, and the next one heals",
  async (name) => {
    const counted = join(place.dir, "calls")
    await among(
      0,
      () => "nothing",
      async () => {
        await later(place, ["sweep"], { BANGER_TEST_CALLS: counted })
      },
    )
    const { all } = callsOf(counted)
    // Some of them, others in each of the runs: a process for each would take minutes.
    const first = 1 + ["EACCES", "EIO", "EMFILE"].indexOf(name)
    let troubled = 0
    for (let at = first; at <= all; at += STEP) {
      await among(
        at,
        () => `${name} of call ${at} of ${all}`,
        async () => {
          const env = { BANGER_TEST_FAIL_AT: String(at), BANGER_TEST_ERRNO: String(constants.errno[name]) }
          const { exit } = await later(place, ["sweep"], env)
          if (exit !== 0) troubled++
        },
      )
    }
    expect(troubled).toBeGreaterThan(5)
  },
  800_000,
)
