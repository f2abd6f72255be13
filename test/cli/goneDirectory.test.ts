import { expect, test } from "bun:test"
import { relativePaths } from "../../src/cli/goneDirectory.ts"
import { findCommand } from "../../src/cli/terminal/findCommand.ts"
import { parseWords } from "../../src/cli/terminal/parse.ts"
import { root } from "../../src/cli/tree.ts"

test.each([
  ["run p.ts", ["p.ts"]],
  ["run /p.ts --trace t.json", ["t.json"]],
  ["run /p.ts --restore snap --name web", ["snap"]],
  ["sweep /run/a b c", ["b", "c"]],
  ["sweep --plugin guard.ts --metrics m.prom", ["guard.ts", "m.prom"]],
  ["init", ["plugin.ts"]],
  ["snapshot web dir", ["dir"]],
  ["disk export data -", []],
  ["disk export data out.img", ["out.img"]],
  ["get vmlinux-6.1 --from https://host/file", []],
  ["get mine --from file.img", ["file.img"]],
  ["system cron a", ["a"]],
  ["stop web db", []],
  ["ps -a", []],
])("of `banger %s` these words are paths from the working directory: %p", async (words, paths) => {
  const { command, left } = await findCommand(root, words.split(" "))
  expect(relativePaths(command.args, parseWords(left, command.args, command))).toEqual(paths)
})
