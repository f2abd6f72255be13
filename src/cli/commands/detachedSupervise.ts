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
    const onReady = takeReporter()
    using state = openState()
    const logFile = text(values, "log")
    const vm = text(values, "vm") ?? ""
    return showSupervised(await superviseVm(state, vm, { log: output.log, logFile, onReady }), output)
  },
}
export default command
