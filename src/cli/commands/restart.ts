import { runSelf } from "../../host/process/runSelf.ts"
import { detach } from "../../operations/detach.ts"
import { rerunArgv } from "../../operations/rerun.ts"
import { stopVm } from "../../operations/stop.ts"
import { openState } from "../../store/state/open.ts"
import { showDetached } from "../show/ends.ts"
import { command, vmArg } from "../terminal/command.ts"

export default command({
  meta: { name: "restart", description: "Stop a VM if it runs, and run its plugin again in the background" },
  args: { vm: vmArg, json: { type: "boolean", description: "Print the new VM as JSON" } },
  async run({ vm, json }, { output }) {
    using state = openState()
    const words = rerunArgv(state, vm)
    // Before the VM is stopped it is known that its plugin can still be loaded, and all its files are there.
    const wrong = await runSelf(["run", "--plan", ...words], { log: output.log })
    if (wrong !== undefined) {
      output.log.error(`${vm} is left as it is: its plugin cannot be run again`)
      throw wrong
    }
    await stopVm(state, vm, { action: "stop" }, output.log)
    return showDetached(output, (say) => detach("__run", json === true ? ["--json", ...words] : words, say))
  },
})
