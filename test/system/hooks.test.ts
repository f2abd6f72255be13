import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { type Ended, fixture, start } from "./banger.ts"
import { eachInItsPlace, records } from "./place.ts"

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
  test(`configure that does ${behaviour} aborts with nothing made`, async () => {
    const { hooks, stderr, exit } = await misbehaving("configure", behaviour)
    expect(hooks).toEqual(["configure"])
    expect(stderr).toContain(words("configure"))
    expect(exit).toBe(1)
    expect(records(place)).toEqual([])
  })

  test(`preBoot that does ${behaviour} aborts the start, and postStop runs`, async () => {
    const { hooks, stderr, stdout, exit } = await misbehaving("preBoot", behaviour)
    expect(hooks).toEqual(["configure", "preBoot", "postStop"])
    expect(stderr).toContain(words("preBoot"))
    expect(stdout).not.toContain("guest is up")
    expect(exit).toBe(1)
  })

  test(`postBoot that does ${behaviour} stops the VM as a failure`, async () => {
    const { hooks, stderr, exit } = await misbehaving("postBoot", behaviour)
    expect(hooks).toEqual(ALL)
    expect(stderr).toContain(words("postBoot"))
    expect(exit).toBe(1)
  })

  test(`preStop that does ${behaviour} is reported, and the stop goes on`, async () => {
    const { hooks, stderr, exit } = await misbehaving("preStop", behaviour)
    expect(hooks).toEqual(ALL)
    expect(stderr).toContain(words("preStop"))
    expect(stderr).toContain("guest reset, as asked")
    expect(exit).toBe(130)
  })

  test(`postStop that does ${behaviour} is reported, and cleaning up goes on`, async () => {
    const { hooks, stderr, exit } = await misbehaving("postStop", behaviour)
    expect(hooks).toEqual(["configure", "preBoot", "postBoot", "postStop"])
    expect(stderr).toContain(words("postStop"))
    expect(exit).toBe(0)
  })
}

test.each(["configure", "preBoot", "postBoot", "preStop", "postStop"])(
  "%s that holds the thread for ever is ended from outside it, and nothing is left",
  async (hook) => {
    const { hooks, stderr, exit } = await misbehaving(hook, "block")
    expect(hooks.at(-1)).toBe(hook)
    expect(stderr).toContain(`${hook} did not finish in 1s and blocks everything else`)
    expect(exit).toBe(hook === "configure" ? 2 : 1)
  },
)
