import { openState } from "../../store/state/open.ts"
import { recoverOne } from "../../supervisor/recover.ts"
import { type Command, text, vmArg } from "../terminal/command.ts"

/** What a sweep starts for a dead VM whose plugin has postStop hooks. */
const command: Command = {
  meta: { name: "__recover", description: "Finish one VM whose supervisor is gone" },
  args: { vm: vmArg },
  async run({ values, output }) {
    using state = openState()
    return await recoverOne(state, text(values, "vm") ?? "", output.log)
  },
}
export default command
