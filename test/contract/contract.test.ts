// The one contract with Firecracker and its jailer: every answer of the table, held against the double of each release that
// banger takes, and against the real one where it and a usable /dev/kvm are there.
import { afterAll, beforeAll, expect, test } from "bun:test"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { findReal, NEWEST, type Programs } from "../real.ts"
import { play } from "./play.ts"
import { buildDouble, minorOf, RELEASES } from "./programs.ts"
import { answerFor, parseTable, type Sequence, within } from "./table.ts"

const FEWEST_CASES = 250

/** So long a silence is one on any host. */
const PATIENCE_MS = 3000

const root = process.getuid?.() === 0
const hugePages = !/^HugePages_Free: +0$/m.test(readFileSync("/proc/meminfo", "utf8"))
const folder = join(import.meta.dir, "table")
const sequences = readdirSync(folder)
  .filter((name) => name.endsWith(".txt"))
  .sort()
  .flatMap((name) => parseTable(name, readFileSync(join(folder, name), "utf8")).sequences)

// A minute of work in all: --quick asks the double of the newest release alone.
const quick = process.env.BANGER_TEST_QUICK === "yes"
const real = findReal()
console.log(
  `contract: ${typeof real === "string" ? `on the double only: ${real}` : `on the double and on ${real.firecracker}`}`,
)
if (!root) console.log("contract: without root, so without taps and jails")

let dir: string
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "banger-doubles-"))
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

test("the table is as large as it must be, and every step has an answer", () => {
  const steps = sequences.flatMap(({ steps }) => steps)
  expect(steps.length).toBeGreaterThan(FEWEST_CASES)
  expect(steps.filter(({ answers }) => answers.length === 0)).toEqual([])
  expect(new Set(sequences.map(({ name }) => name)).size).toBe(sequences.length)
})

for (const release of quick ? [NEWEST] : RELEASES) {
  test(`the double of ${release} answers as the table says`, async () => {
    await holds(buildDouble(dir, release))
  }, 120_000)
}

test.skipIf(typeof real === "string")(
  "the real Firecracker answers as the table says",
  async () => {
    if (typeof real !== "string") await holds(real)
  },
  300_000,
)

// --- internal ---

async function holds(programs: Programs): Promise<void> {
  const wrong: string[] = []
  let asked = 0
  const left = sequences.filter((one) => isFor(one, programs))
  const work = async () => {
    for (let sequence = left.shift(); sequence !== undefined; sequence = left.shift()) {
      const differ = await differences(sequence, programs)
      asked += sequence.steps.length
      // On a busy host an answer may come after what was taken for silence.
      if (differ.length > 0) wrong.push(...(await differences(sequence, programs, PATIENCE_MS)))
    }
  }
  // Most of the time is waiting; guests of the real one use a core each.
  await Promise.all(Array.from({ length: programs.real ? 2 : 8 }, work))
  if (wrong.length > 0) throw new Error(`${wrong.length} of ${asked} answers differ:\n${wrong.join("\n")}`)
}

async function differences(sequence: Sequence, programs: Programs, silenceMs?: number): Promise<readonly string[]> {
  const played = await play(sequence, programs, { silenceMs })
  return played.flatMap(({ step, ask, answer }) => {
    const told = sequence.steps[step]
    const expected = told && answerFor(told, minorOf(programs.release))?.text
    if (answer === expected || (programs.real && told?.also.includes(answer))) return []
    return [`${sequence.file}: ${sequence.name}\n  ${ask}\n  table: ${expected}\n  is:    ${answer}`]
  })
}

function isFor(sequence: Sequence, { release }: Programs): boolean {
  if ((sequence.root && !root) || (sequence.noHugePages && hugePages)) return false
  return sequence.releases === undefined ? release === NEWEST : within(sequence.releases, minorOf(release))
}
