import { EXIT } from "../../base/terms/failure.ts"
import { command } from "../terminal/command.ts"
import { versionText } from "../terminal/version.ts"

export default command({
  meta: { name: "version", description: "Print the version" },
  args: {},
  run(_values, { output }) {
    output.print(versionText())
    return EXIT.ok
  },
})
