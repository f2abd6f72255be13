import { recoverOne } from "../lifecycle/recover.ts"
import { openState } from "../lifecycle/session.ts"
import { type Command, text, vmArg } from "./command.ts"

/** What a sweep starts for a dead VM whose plugin has postStop hooks. */
const command: Command = {
  meta: { name: "__recover", description: "Finish one VM whose supervisor is gone" },
  args: { vm: vmArg },
  async run({ values, output }) {
    const state = openState()
    try {
      return await recoverOne(state, text(values, "vm") ?? "", output.log)
    } finally {
      state.db.close()
    }
  },
}
export default command
