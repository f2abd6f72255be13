import { renderUsage } from "citty"
import type { Command } from "./command.ts"
import { globalArgs } from "./globalArgs.ts"
import { TOPICS } from "./topics.ts"
import { versionText } from "./version.ts"

/** The commands by what one is about, each in the order one meets them. */
const GROUPS: Readonly<Record<string, readonly string[]>> = {
  "Start a VM": ["init", "get", "run"],
  "VMs that run": ["ps", "logs", "attach", "stop", "kill", "restart", "wait", "inspect", "events", "snapshot"],
  "After them": ["rm", "sweep", "supervise"],
  "This host": ["doctor", "net", "system"],
  "banger itself": ["update", "complete", "help", "version"],
}

/** Those that are no files in this directory. */
const OWN: Readonly<Record<string, string>> = {
  help: "Tell of a command, or of a topic",
  version: "Print the version",
}

/** The help of banger itself. */
export function help(commands: readonly Command[]): string {
  const about = new Map([...commands.map(({ meta }) => [meta.name, meta.description] as const), ...Object.entries(OWN)])
  const width = Math.max(...[...about.keys()].map((name) => name.length))
  const groups = Object.entries(GROUPS).flatMap(([title, names]) => [
    title,
    ...names.map((name) => `  ${name.padEnd(width)}  ${about.get(name) ?? ""}`),
    "",
  ])
  return [
    versionText(),
    "",
    "Runs microVMs from a TypeScript file and leaves nothing behind.",
    "",
    "  banger run ./plugin.ts",
    "",
    ...groups,
    `banger COMMAND --help tells more; banger help ${Object.keys(TOPICS).join(" | ")} too.`,
  ].join("\n")
}

/** The help of one command. */
export async function commandHelp(command: Command): Promise<string> {
  const meta = { ...command.meta, name: `banger ${command.meta.name}` }
  const text = await renderUsage({ meta, args: { ...command.args, ...globalArgs } })
  const usage = text.replace(/ +$/gm, "").trimEnd()
  return process.stdout.isTTY && !process.env.NO_COLOR ? usage : Bun.stripANSI(usage)
}
