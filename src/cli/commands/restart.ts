import { restartVm } from "../../operations/restart.ts"
import { openState } from "../../store/state/open.ts"
import { showDetached } from "../show/ends.ts"
import { command, vmArg } from "../terminal/command.ts"
import { takeConsole } from "../terminal/takeConsole.ts"

export default command({
  meta: { name: "restart", description: "Stop a VM if it runs, and run its plugin again in the background" },
  args: { vm: vmArg, json: { type: "boolean", description: "Print the new VM as JSON" } },
  async run({ vm }, { output }) {
    using state = openState()
    // The plugin is loaded here too, to see whether it still can be.
    takeConsole(output, true)
    return await showDetached(output, (say) => restartVm(state, vm, { log: output.log, say }))
  },
})
