import { takeReporter } from "../lifecycle/detach.ts"
import { openState } from "../lifecycle/session.ts"
import { superviseVm } from "../lifecycle/superviseVm.ts"
import { type Command, text, vmArg } from "./command.ts"
import { showSupervised } from "./supervise.ts"

/** What `banger supervise --detach` goes on as. */
const command: Command = {
  meta: { name: "__supervise", description: "Supervise a running VM without a terminal" },
  args: { vm: vmArg, log: { type: "string", description: "Where messages go" } },
  async run({ values, output }) {
    const report = takeReporter()
    const state = openState()
    try {
      const log = text(values, "log")
      return showSupervised(await superviseVm(state, text(values, "vm") ?? "", output.log, log, report), output)
    } finally {
      state.db.close()
    }
  },
}
export default command
