import { EXIT } from "../../base/terms/failure.ts"
import { writeStarter } from "../../inputs/plugin/starter.ts"
import { type Command, text } from "../terminal/command.ts"

const command: Command = {
  meta: { name: "init", description: "Write a starter plugin and the types it needs" },
  args: {
    file: { type: "positional", required: false, default: "plugin.ts", description: "The plugin to write" },
  },
  run({ values, output }) {
    for (const path of writeStarter(text(values, "file") ?? "plugin.ts")) output.print(path)
    return EXIT.ok
  },
}
export default command
