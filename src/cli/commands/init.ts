import { writeStarter } from "../../inputs/starter/starter.ts"
import type { Written } from "../show/documents.ts"
import { command } from "../terminal/command.ts"

export default command({
  meta: { name: "init", description: "Write a starter plugin and the types it needs" },
  args: {
    file: { type: "positional", required: false, default: "plugin.ts", description: "The plugin to write" },
    types: { type: "boolean", description: "Write only the types anew, beside a plugin that is there" },
  },
  run({ file, types }, { output }) {
    const files = writeStarter(file, { typesOnly: types === true })
    output.show({ files: [...files] } satisfies Written, files.join("\n"))
    return undefined
  },
})
