import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { type Ended, fixture, start } from "./support/banger.ts"
import { eachInItsPlace, records } from "./support/place.ts"

const place = eachInItsPlace()

const ALL = ["configure", "preBoot", "postBoot", "preStop", "postStop"]

/** Runs the hooks fixture with one hook misbehaving; `preStop` runs only when the VM is asked to stop. */
async function misbehaving(hook: string, behaviour: string): Promise<Ended & { hooks: readonly string[] }> {
  const notes = join(place.dir, "notes")
  const env = { BANGER_TEST_HOOK: `${hook}:${behaviour}`, BANGER_TEST_NOTES: notes, BANGER_TEST_LIMIT: "1s" }
  const run = start(
    place,
    ["run", fixture("hooks"), "--", hook === "preStop" || hook === "postBoot" ? "sleep 600" : "true"],
    env,
  )
  if (hook === "preStop")
    run.shows("guest is up").then(
      () => run.signal("SIGINT"),
      () => {},
    )
  const ended = await run.ended
  return { ...ended, hooks: readFileSync(notes, "utf8").trim().split("\n") }
}

test("hooks run in their order, each once", async () => {
  const { hooks, exit } = await misbehaving("none", "none")
  expect(hooks).toEqual(["configure", "preBoot", "postBoot", "postStop"])
  expect(exit).toBe(0)
})

for (const [behaviour, words] of [
  ["throw", (hook: string) => `${hook} threw: ${hook} is broken`],
  ["hang", (hook: string) => `${hook} did not finish in 1s`],
  ["exit", (hook: string) => `${hook} threw: a plugin called process.exit()`],
] as const) {
  const failed = behaviour === "hang" ? 124 : 1

  test(`configure that does ${behaviour} aborts with nothing made`, async () => {
    const { hooks, stderr, exit } = await misbehaving("configure", behaviour)
    expect(hooks).toEqual(["configure"])
    expect(stderr).toContain(words("configure"))
    expect(exit).toBe(failed)
    expect(records(place)).toEqual([])
  })

  test(`preBoot that does ${behaviour} aborts the start, and postStop runs`, async () => {
    const { hooks, stderr, stdout, exit } = await misbehaving("preBoot", behaviour)
    expect(hooks).toEqual(["configure", "preBoot", "postStop"])
    expect(stderr).toContain(words("preBoot"))
    expect(stdout).not.toContain("guest is up")
    expect(exit).toBe(failed)
  })

  test(`postBoot that does ${behaviour} stops the VM as a failure`, async () => {
    const { hooks, stderr, exit } = await misbehaving("postBoot", behaviour)
    expect(hooks).toEqual(ALL)
    expect(stderr).toContain(words("postBoot"))
    expect(exit).toBe(failed)
  })

  test(`preStop that does ${behaviour} is reported, and the stop goes on`, async () => {
    const { hooks, stderr, exit } = await misbehaving("preStop", behaviour)
    expect(hooks).toEqual(ALL)
    expect(stderr).toContain(words("preStop"))
    expect(exit).toBe(130)
  })

  test(`postStop that does ${behaviour} is reported, and cleaning up goes on`, async () => {
    const { hooks, stderr, exit } = await misbehaving("postStop", behaviour)
    expect(hooks).toEqual(["configure", "preBoot", "postBoot", "postStop"])
    expect(stderr).toContain(words("postStop"))
    expect(exit).toBe(failed)
  })
}

test.each(["configure", "preBoot", "postBoot", "preStop", "postStop"])(
  "%s that holds the thread for ever is ended from outside it, and nothing is left",
  async (hook) => {
    const { hooks, stderr, exit } = await misbehaving(hook, "block")
    expect(hooks.at(-1)).toBe(hook)
    expect(stderr).toContain(`${hook} did not finish in 1s and blocks everything else`)
    expect(exit).toBe(124)
  },
)

test("when preBoot is over, what it was given stages nothing more", async () => {
  const { stderr, exit } = await start(place, ["run", fixture("stale")]).ended
  for (const name of ["write", "copy", "link", "add", "left"])
    expect(stderr).toContain(`${name}: preBoot is over: nothing can be staged or kept and no drive added any more`)
  expect(exit).toBe(0)
})

test("the limit of the run holds during postBoot too", async () => {
  const env = { BANGER_TEST_HOOK: "postBoot:wait" }
  const { stderr, exit } = await start(place, ["run", fixture("hooks"), "--timeout", "3s", "--", "sleep 600"], env)
    .ended
  expect(stderr).toContain("the VM still ran after 3s (timeouts.run)")
  expect(stderr).not.toContain("postBoot was interrupted")
  expect(exit).toBe(124)
})

test.each(["block-late", "leave-block"])("code that does %s after its hook is ended too", async (behaviour) => {
  const { stderr, exit } = await misbehaving("postBoot", behaviour)
  expect(stderr).toMatch(/code of the plugin that runs on after \w+ has held banger up for 15s/)
  expect(records(place)[0]?.state).toBe("failed")
  expect(exit).toBe(124)
})

test.each([
  ["preBoot", { reason: "failed to start", requested: false }],
  ["postBoot", { reason: "killed", requested: true, signal: "SIGKILL" }],
  ["postStop", { reason: "guest reset", requested: false, code: 0 }],
] as const)("the end of a VM whose %s blocks is told truly, also as JSON", async (hook, truth) => {
  const env = { BANGER_TEST_HOOK: `${hook}:block`, BANGER_TEST_LIMIT: "1s" }
  const { stdout, exit } = await start(place, ["run", fixture("hooks"), "--json"], env).ended
  const result = JSON.parse(stdout)
  expect(result).toMatchObject({ name: "hooks", state: "failed", keptForInspection: false, exit: truth })
  expect(result.error.message).toBe(`${hook} did not finish in 1s and blocks everything else`)
  const events = readFileSync(join(result.dir, "events.jsonl"), "utf8").trim().split("\n")
  expect(JSON.parse(events.at(-1) ?? "")).toMatchObject({ state: "failed", exit: truth })
  expect(exit).toBe(124)
})
