import { command } from "../terminal/command.ts"
import { version, versionText } from "../terminal/version.ts"

export default command({
  meta: { name: "version", description: "Print the version" },
  args: {},
  run(_values, { output }) {
    output.show(version, versionText())
    return undefined
  },
})
