import { restartVm } from "../../operations/restart.ts"
import { openState } from "../../store/state/open.ts"
import { command, vmArg } from "../terminal/command.ts"
import { showDetached } from "./run.ts"

export default command({
  meta: { name: "restart", description: "Stop a VM if it runs, and run its plugin again in the background" },
  args: { vm: vmArg, json: { type: "boolean", description: "Print the new VM as JSON" } },
  async run({ vm, json }, { output }) {
    using state = openState()
    const say = (line: string) => output.say(line, "err")
    return showDetached(await restartVm(state, vm, { log: output.log, say }), json === true, output)
  },
})
