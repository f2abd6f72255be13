import { expect, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, start } from "../system/support/banger.ts"
import { eachOnDoubles } from "./support/place.ts"
import { boot, bootWords } from "./support/vms.ts"

const place = eachOnDoubles()
const SHELL = { through: ["sh"], self: false } as const
const quoted = (words: readonly string[]) => words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ")
/** A banger whose standard input is what a shell's command prints. */
const piped = (from: string, words: readonly string[]) =>
  start(place, ["-c", `${from} | ${quoted([...place.program, ...words])}`], {}, SHELL)

test("run -i gives piped input to the guest, all of it, and goes on after its end", async () => {
  const run = piped("seq 1 3000", bootWords(place, { flags: ["-i"] }))
  await run.shows("\n3000")
  const words = (await banger(place, ["logs", "double"])).stdout.split(/\r?\n/)
  expect(Array.from({ length: 3000 }, (_, index) => String(index + 1)).filter((n) => !words.includes(n))).toEqual([])
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  await run.ended
})

const NOT_GIVEN = "the guest is not given standard input; to give it: banger run -i"

test.each([
  ["a pipe's", "echo secret | "],
  ["a file's", "< words "],
  ["a file's, though nothing but an end of line", "< line "],
])("without -i the guest is not given %s content, and a line says so", async (_, from) => {
  writeFileSync(join(place.dir, "words"), "secret\n")
  writeFileSync(join(place.dir, "line"), "\n")
  const { stdout, stderr } = await endedBy(from)
  expect(stdout).not.toContain("secret")
  expect(stderr.split(NOT_GIVEN)).toHaveLength(2)
})

test.each([["< /dev/null "], [": | "], ["<&- "], ["< none "]])(
  "nothing is said of input that has nothing: %s",
  async (from) => {
    writeFileSync(join(place.dir, "none"), "")
    expect((await endedBy(from)).stderr).not.toContain(NOT_GIVEN)
  },
)

async function endedBy(from: string) {
  const words = quoted([...place.program, ...bootWords(place, { flags: [] })])
  const run = start(place, ["-c", from.endsWith("| ") ? `${from}${words}` : `${words} ${from}`], {}, SHELL)
  await run.shows("up")
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  return await run.ended
}

test.each([["-d"], ["--supervise=none"]])("run -i %s is refused: nobody is there to give it input", async (flag) => {
  const { stderr, exit } = await banger(place, bootWords(place, { flags: ["-i", flag] }))
  expect(stderr).toContain("a VM in the background is given no input")
  expect(exit).toBe(2)
})

test("attach ends after the end of piped input, with the guest's answer; the VM goes on", async () => {
  await boot(place)
  const { stdout, stderr, exit } = await piped("printf 'one\\ntwo\\n'", ["attach", "double"]).ended
  expect(stdout).toContain("two")
  expect(stderr).toContain("detached from double")
  expect(exit).toBe(0)
  expect((await banger(place, ["ps", "-q"])).stdout).toMatch(/^double-\w+\n$/)
  const last = await banger(place, ["logs", "--tail", "1", "double"])
  expect(last.stdout.trim()).toBe("two")
  expect((await banger(place, ["logs", "--tail", "many", "double"])).exit).toBe(2)
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
  expect((await banger(place, ["ps", "-q"])).stdout).toBe("")
})
