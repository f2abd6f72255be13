import { openState } from "../../store/state/open.ts"
import { recoverOne } from "../../supervisor/recover.ts"
import { command, vmArg } from "../terminal/command.ts"

/** What a sweep starts for a dead VM whose plugin has postStop hooks. */
export default command({
  meta: { name: "__recover", description: "Finish one VM whose supervisor is gone", hidden: true },
  args: { vm: vmArg },
  async run({ vm }, { output }) {
    using state = openState({ toEnd: true })
    await recoverOne(state, vm, output.log)
    return undefined
  },
})
