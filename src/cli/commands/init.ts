import { EXIT } from "../../base/terms/failure.ts"
import { writeStarter } from "../../inputs/plugin/starter.ts"
import { command } from "../terminal/command.ts"

export default command({
  meta: { name: "init", description: "Write a starter plugin and the types it needs" },
  args: {
    file: { type: "positional", required: false, default: "plugin.ts", description: "The plugin to write" },
  },
  run({ file }, { output }) {
    for (const path of writeStarter(file)) output.print(path)
    return EXIT.ok
  },
})
