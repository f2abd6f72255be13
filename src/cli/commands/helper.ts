import { serve } from "../../operations/helper/serve.ts"
import { command } from "../terminal/command.ts"
import { versionText } from "../terminal/version.ts"

/** What `sudo -n banger __helper` runs: root's side of a user's banger. */
export default command({
  meta: {
    name: "__helper",
    description: "Do for a user of sudo what needs root, as they ask on standard input",
    hidden: true,
  },
  args: {},
  async run() {
    await serve(versionText())
    return undefined
  },
})
