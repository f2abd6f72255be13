import { RootCommand, script } from "@bomb.sh/tab"
import type { ArgDef } from "citty"
import { EXIT, usageError } from "../../base/terms/failure.ts"
import { BASH_SCRIPT } from "../show/bashScript.ts"
import { candidatesFor } from "../show/completions.ts"
import { type Command, text } from "../terminal/command.ts"
import { globalArgs } from "../terminal/globalArgs.ts"
import { TOPICS } from "../terminal/topics.ts"

const SHELLS = ["bash", "zsh", "fish"]

const command: Command = {
  meta: { name: "complete", description: "Print the completion script of a shell" },
  args: {
    shell: {
      type: "positional",
      required: false,
      description: "bash, zsh or fish; its script asks with words after --",
    },
  },
  takesRest: true,
  takesCommands: true,
  async run({ values, rest, output, commands }) {
    const asked = rest.length > 0
    const shell = text(values, "shell")
    if (shell !== undefined && !SHELLS.includes(shell))
      throw usageError(`there are no completions for ${shell}`, SHELLS.join(", "))
    if (shell === undefined && !asked) throw usageError("SHELL is missing", `give one of: ${SHELLS.join(", ")}`)
    if (shell !== undefined) output.print(scriptFor(shell))
    else output.print(printed(() => treeOf(commands, rest.at(-1) ?? "").parse([...rest])))
    return EXIT.ok
  },
}
export default command

// --- internal ---

function scriptFor(shell: string): string {
  if (shell === "bash") return BASH_SCRIPT
  const made = printed(() => script(shell, "banger", "banger"))
  // A shell that reads its startup file again, or another program's script of this kind, would fail on these.
  return made.replace(/^readonly /gm, "")
}

/** The commands as the library wants them: with what may follow each option and positional. */
function treeOf(commands: readonly Command[], current: string): RootCommand {
  const tree = new RootCommand()
  for (const { meta, args, takesMany } of commands) {
    const node = tree.command(meta.name, meta.description)
    for (const [name, def] of Object.entries({ ...args, ...globalArgs } as Record<string, ArgDef>)) {
      const values = candidatesFor(meta.name, name, def, current)
      if (def.type === "positional") node.argument(name, values, takesMany)
      else if (def.type === "boolean") node.option(name, def.description ?? "", shortOf(def))
      else node.option(name, def.description ?? "", values, shortOf(def))
    }
  }
  const help = tree.command("help", "Show a command's help, or a topic's")
  help.argument("what", (add) => {
    for (const { meta } of commands) add(meta.name, meta.description)
    for (const topic of Object.keys(TOPICS)) add(topic, "")
  })
  tree.command("version", "Print the version")
  return tree
}

function shortOf(def: ArgDef): string {
  const aliases = "alias" in def && def.alias !== undefined ? [def.alias].flat() : []
  return aliases.find((alias) => alias.length === 1) ?? ""
}

/** What the library prints, which it does by `console.log`. */
function printed(work: () => void): string {
  const lines: string[] = []
  const log = console.log
  console.log = (...words: unknown[]) => lines.push(words.join(" "))
  try {
    work()
  } finally {
    console.log = log
  }
  return lines.join("\n")
}
