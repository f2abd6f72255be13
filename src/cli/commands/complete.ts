import { RootCommand, script } from "@bomb.sh/tab"
import { usageError } from "../../base/terms/failure.ts"
import { BASH_SCRIPT } from "../show/bashScript.ts"
import { candidatesFor } from "../show/completions.ts"
import type { Text } from "../show/documents.ts"
import { type Command, command, commandsBelow } from "../terminal/command.ts"
import { aliasOf } from "../terminal/parse.ts"
import { TOPICS } from "../terminal/topics.ts"

const SHELLS = ["bash", "zsh", "fish"]

export default command({
  meta: { name: "complete", description: "Print the completion script of a shell" },
  args: {
    shell: {
      type: "positional",
      required: false,
      description: "bash, zsh or fish; its script asks with words after --",
    },
  },
  takesRest: true,
  async run({ shell }, { rest, output, root }) {
    if (shell !== undefined && !SHELLS.includes(shell))
      throw usageError(`there are no completions for ${shell}`, {
        hint: `there are: ${SHELLS.join(", ")}`,
        subject: "SHELL",
      })
    if (shell === undefined && rest.length === 0)
      throw usageError("SHELL is missing", { hint: `give one of: ${SHELLS.join(", ")}`, subject: "SHELL" })
    if (shell !== undefined) {
      const text = scriptFor(shell)
      output.show({ text } satisfies Text, text)
    } else {
      const tree = await treeOf(root, rest.at(-1) ?? "")
      output.print(printed(() => tree.parse([...rest])))
    }
    return undefined
  },
})

// --- internal ---

function scriptFor(shell: string): string {
  if (shell === "bash") return BASH_SCRIPT
  const made = printed(() => script(shell, "banger", "banger"))
  // A shell that reads its startup file again, or another program's script of this kind, would fail on these.
  return made.replace(/^readonly /gm, "")
}

/** The commands as the library wants them: with what may follow each option and positional. */
async function treeOf(root: Command, current: string): Promise<RootCommand> {
  const tree = new RootCommand()
  await addBelow(root, [])
  // Commands complete by themselves, topics do not.
  tree.commands.get("help")?.argument("what", (add) => {
    for (const name of [...tree.commands.keys(), ...Object.keys(TOPICS)]) add(name, "")
  })
  return tree

  async function addBelow(parent: Command, path: readonly string[]): Promise<void> {
    for (const each of await commandsBelow(parent)) {
      addCommand(tree, each, { path: [...path, each.meta.name], current })
      await addBelow(each, [...path, each.meta.name])
    }
  }
}

/** The library tells a command below another by the words of its name. */
function addCommand(
  tree: RootCommand,
  { meta, args, takesMany }: Command,
  { path, current }: { readonly path: readonly string[]; readonly current: string },
): void {
  const node = tree.command(path.join(" "), meta.description)
  for (const [name, def] of Object.entries(args)) {
    const values = candidatesFor([...path, name], def, current)
    const short = aliasOf(def) ?? ""
    if (def.type === "positional") node.argument(name, values, takesMany)
    else if (def.type === "boolean") node.option(name, def.description ?? "", short)
    else node.option(name, def.description ?? "", values, short)
  }
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
