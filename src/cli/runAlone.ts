import detachedRun from "./commands/detachedRun.ts"
import run from "./commands/run.ts"
import { perform } from "./perform.ts"
import { command } from "./terminal/command.ts"

/**
 * As `main`, for `run` alone. The built program has this file and all that it imports as one piece: it loads in half the time that
 * the pieces take which `run` shares with other commands.
 */
export function main(words: readonly string[]): Promise<number> {
  return perform(words, root)
}

// --- internal ---

const root = command({
  meta: { name: "banger", description: "Runs microVMs from a TypeScript file" },
  args: {},
  subCommands: { run: async () => run, __run: async () => detachedRun },
})
