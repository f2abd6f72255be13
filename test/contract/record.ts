// Asks the real Firecracker every step of the table and writes its answers down, for the newest release:
//   bun test/contract/record.ts [--check] [WORD…]
// With --check nothing is written and what would change is shown; WORDs choose files and sequences by their names.
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { findReal, NEWEST } from "../real.ts"
import { play } from "./play.ts"
import { minorOf } from "./programs.ts"
import { answerFor, parseTable, withAnswers, within } from "./table.ts"

const real = findReal()
if (typeof real === "string") throw new Error(`The real Firecracker is needed: ${real}.`)
const check = process.argv.includes("--check")
const words = process.argv.slice(2).filter((word) => !word.startsWith("--"))
const dir = join(import.meta.dir, "table")
for (const name of readdirSync(dir).filter((file) => file.endsWith(".txt"))) {
  const text = readFileSync(join(dir, name), "utf8")
  const found = new Map<string, string>()
  for (const [index, sequence] of parseTable(name, text).sequences.entries()) {
    const chosen = words.length === 0 || words.some((word) => `${name} ${sequence.name}`.includes(word))
    const tried = sequence.releases === undefined || within(sequence.releases, minorOf(NEWEST))
    if (!chosen || !tried || (sequence.root && process.getuid?.() !== 0)) continue
    for (const { step, ask, answer } of await play(sequence, real, { every: true })) {
      const told = sequence.steps[step]
      const stood = told && answerFor(told, minorOf(NEWEST))?.text
      if (told?.also.includes(answer)) continue
      if (stood !== answer) console.log(`${name}: ${sequence.name}\n  ${ask}\n  ${stood ?? "-"}\n  ${answer}`)
      found.set(`${index} ${step}`, answer)
    }
  }
  if (!check)
    writeFileSync(
      join(dir, name),
      withAnswers(text, (sequence, step) => found.get(`${sequence} ${step}`)),
    )
}
