import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { findCommand } from "../src/cli/terminal/findCommand.ts"
import { parseWords } from "../src/cli/terminal/parse.ts"
import { root as tree } from "../src/cli/tree.ts"

// A command that a message names can be run as it stands there: it is of the tree, and takes these words.

const root = join(import.meta.dir, "..")
const sources = [...new Bun.Glob("src/**/*.ts").scanSync(root)].filter((path) => !path.endsWith(".d.ts")).sort()

/** What a placeholder of a message stands for; `a b` as one word. */
const PLACEHOLDER = "x"

/** What banger is or does, in sentences: no command may have such a name. */
const PROSE = new Set("x as by chooses did has is itself knows needs puts reads resumes runs was".split(" "))

/** The texts of a source: what stands between quotes, on a line that is no comment. */
function textsOf(source: string): readonly string[] {
  const lines = source.split("\n").filter((line) => !/^\s*(?:\*|\/\/|\/\*)/.test(line))
  return lines.flatMap((line) =>
    [...line.matchAll(/"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`|'(?:[^'\\]|\\.)*'/g)].map(([t]) => t.slice(1, -1)),
  )
}

/** The command lines that a text tells to run: at its beginning, or behind a colon, a semicolon or a comma. */
function commandsIn(text: string): readonly string[] {
  const plain = text.replace(/\$\{(?:[^{}]|\{[^{}]*\})*\}/g, PLACEHOLDER)
  const told = plain.matchAll(/(?:^|[:;,] |[;,] or |\bby |\brun |to try again: )banger ([a-z][^;,:()|>]*)/g)
  return [...told].map(([, words = ""]) => words.trim())
}

/** Why a command line is not taken; empty where it is. Its words end where the sentence goes on. */
async function isTaken(line: string): Promise<string> {
  const words = line.split(/\s+/).map((word) => word.replace(/\.$/, ""))
  if (PROSE.has(words[0] ?? "")) return ""
  const { command, left } = await findCommand(tree, words)
  const own: string[] = []
  for (const [index, word] of left.entries()) {
    const before = left[index - 1] ?? ""
    const isWord = /^-|^[A-Z/.]|^x\b|[=:.\d]/.test(word) || word === PLACEHOLDER || /^--(?!no-)[a-z-]+$/.test(before)
    if (!isWord && !(command.meta.name === "get" && index === 0) && command.meta.name !== "help") break
    own.push(word)
  }
  try {
    parseWords(own, command.args, command)
    return ""
  } catch (error) {
    // What is left out is plain from where it stands, or is only an option's name.
    return /is missing|needs a value/.test(String(error)) ? "" : String(error)
  }
}

const told = sources.flatMap((path) =>
  textsOf(readFileSync(join(root, path), "utf8"))
    .flatMap(commandsIn)
    .map((line) => ({ path, line })),
)

test("messages name commands, and none is called as what banger does", async () => {
  for (const word of PROSE) await expect(findCommand(tree, [word])).rejects.toThrow("no command")

  expect(told.length).toBeGreaterThan(40)
})

test("every command that a message names is there, and takes what stands there", async () => {
  const wrong: string[] = []
  for (const { path, line } of told) {
    try {
      const why = await isTaken(line)
      if (why !== "") wrong.push(`${path}: banger ${line}: ${why}`)
    } catch (error) {
      wrong.push(`${path}: banger ${line}: ${error}`)
    }
  }
  expect(wrong).toEqual([])
})

test("a command that is not there, or does not take its words, is seen", async () => {
  const text = ["to try again: banger rm ", "{id}; or banger stop ", "{taken.id}"].join("$")
  expect(commandsIn(text)).toEqual(["rm x", "stop x"])
  expect(commandsIn("what the banger runs; a banger that")).toEqual([])
  for (const line of ["remove x", "net remove x", "whatever"]) await expect(isTaken(line)).rejects.toThrow()
  expect(await isTaken("rm --forcibly x")).toContain("unknown option")
  expect(await isTaken("inspect x Y")).toContain("unexpected argument")
  expect(await isTaken("disk ls goes on")).toBe("")
})
