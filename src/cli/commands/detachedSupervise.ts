import { takeReporter } from "../../operations/detach.ts"
import { superviseVm } from "../../operations/supervise.ts"
import { openState } from "../../store/state/open.ts"
import { showEnd } from "../show/ends.ts"
import { command, vmArg } from "../terminal/command.ts"

/** What `banger supervise --detach` starts in the background. */
export default command({
  meta: { name: "__supervise", description: "Supervise a running VM without a terminal", hidden: true },
  args: { vm: vmArg, log: { type: "string", description: "Where messages go" } },
  async run({ vm, log }, { output }) {
    const onReady = takeReporter()
    using state = openState()
    return showEnd(await superviseVm(state, vm, { log: output.log, logFile: log, onReady }), output, {
      document: false,
    })
  },
})
