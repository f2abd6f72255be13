import { renderUsage } from "citty"
import type { Command } from "./command.ts"
import { globalArgs } from "./globalArgs.ts"
import { TOPICS } from "./topics.ts"
import { versionText } from "./version.ts"

/** The help of banger itself. */
export function help(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(({ meta }) => meta.name.length), "version".length)
  const line = (name: string, description: string) => `  ${name.padEnd(width)}  ${description}`
  return [
    versionText(),
    "",
    "Runs microVMs from a TypeScript file and leaves nothing behind.",
    "",
    "  banger run ./plugin.ts",
    "",
    ...commands.map(({ meta }) => line(meta.name, meta.description)),
    line("version", "Print the version"),
    "",
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
