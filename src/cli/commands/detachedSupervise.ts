import { takeReporter } from "../../operations/detach.ts"
import { superviseVm } from "../../operations/supervise.ts"
import { openState } from "../../store/state/open.ts"
import { type Command, text, vmArg } from "../terminal/command.ts"
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
