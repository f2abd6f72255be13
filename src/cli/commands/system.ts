import { cronText, ownProgram, unitsText } from "../../upkeep/sweep/schedule.ts"
import type { Text } from "../show/documents.ts"
import { command } from "../terminal/command.ts"

const schedule = { cron: cronText, units: unitsText }

export default command({
  meta: { name: "system", description: "Print what runs banger sweep by itself: a cron file, or systemd units" },
  args: {},
  subCommands: {
    cron: print("cron", "Print a file for /etc/cron.d that sweeps every minute"),
    units: print("units", "Print a systemd service and its timer that sweep every minute"),
  },
})

// --- internal ---

function print(name: keyof typeof schedule, description: string) {
  return command({
    meta: { name, description },
    args: { dir: { type: "positional", required: false, description: "A directory to sweep, and more of them" } },
    takesMany: true,
    run({ dir }, { more, output }) {
      const text = schedule[name](ownProgram(), dir === undefined ? [] : [dir, ...more])
      output.show({ text } satisfies Text, text)
      return undefined
    },
  })
}
