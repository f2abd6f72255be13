import { renderUsage } from "citty"
import { type Command, commandsBelow } from "./command.ts"
import { TOPICS } from "./topics.ts"
import { versionText } from "./version.ts"

/** The commands by what one is about, each in the order one meets them. */
export const GROUPS: Readonly<Record<string, readonly string[]>> = {
  "Start a VM": ["init", "get", "run"],
  "VMs that run": ["ps", "logs", "attach", "stop", "kill", "restart", "wait", "inspect", "events", "set", "snapshot"],
  "After them": ["rm", "forget", "sweep", "supervise"],
  "This host": ["doctor", "disk", "net", "system"],
  "banger itself": ["update", "complete", "help", "version"],
}

/** The help of a command that was found by this path: citty's usage, or for banger itself the commands in groups. */
export async function help(root: Command, command: Command, path: readonly string[]): Promise<string> {
  if (command === root) return overview(root)
  const text = await renderUsage(command, { meta: { name: path.slice(0, -1).join(" ") } })
  const usage = withMore(text, command).replace(/ +$/gm, "").trimEnd()
  return process.stdout.isTTY && !process.env.NO_COLOR ? usage : Bun.stripANSI(usage)
}

// --- internal ---

/** citty's usage does not know of arguments that may be several, nor of words after `--`. */
function withMore(text: string, { takesMany, takesRest }: Command): string {
  return text.replace(/^.*USAGE.*$/m, (line) => {
    const many = takesMany === true ? line.replace(/([A-Z])([\]>])(?!.*[A-Z][\]>])/, "$1…$2") : line
    return takesRest === true ? `${many.trimEnd()} [-- ARGS…]` : many
  })
}

async function overview(root: Command): Promise<string> {
  const about = new Map((await commandsBelow(root)).map(({ meta }) => [meta.name, meta.description]))
  const width = Math.max(...[...about.keys()].map((name) => name.length))
  const groups = Object.entries(GROUPS).flatMap(([title, names]) => [
    title,
    ...names.map((name) => `  ${name.padEnd(width)}  ${about.get(name) ?? ""}`),
    "",
  ])
  return [
    versionText(),
    "",
    `${root.meta.description}.`,
    "",
    "  banger run ./plugin.ts",
    "",
    ...groups,
    `banger COMMAND --help tells more; banger help ${Object.keys(TOPICS).join(" | ")} too.`,
  ].join("\n")
}
