import { EXIT, usageError } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"
import { cronText, ownProgram, unitsText } from "../../upkeep/sweep/schedule.ts"
import { type Command, text } from "../terminal/command.ts"

const TEXTS: Readonly<Record<string, (program: string, dirs: readonly string[]) => string>> = {
  cron: cronText,
  units: unitsText,
}

const command: Command = {
  meta: { name: "system", description: "Print what runs banger sweep by itself: a cron file, or systemd units" },
  args: {
    what: { type: "positional", required: true, description: "cron, or units for systemd" },
    dir: { type: "positional", required: false, description: "A directory to sweep, and more of them" },
  },
  takesMany: true,
  run({ values, more, output }) {
    const what = text(values, "what") ?? ""
    const dir = text(values, "dir")
    const make = Object.hasOwn(TEXTS, what) ? TEXTS[what] : undefined
    if (make === undefined) {
      const near = nearest(what, Object.keys(TEXTS))
      throw usageError(
        `there is no ${what} to print`,
        near === undefined ? "there are: cron, units" : `did you mean ${near}?`,
      )
    }
    output.print(make(ownProgram(), dir === undefined ? [] : [dir, ...more]))
    return EXIT.ok
  },
}
export default command
