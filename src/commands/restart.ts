import { againOf } from "../lifecycle/again.ts"
import { detach } from "../lifecycle/detach.ts"
import { openState } from "../lifecycle/session.ts"
import { stopVm } from "../lifecycle/stopVm.ts"
import { type Command, text, vmArg } from "./command.ts"
import { showDetached } from "./run.ts"

const command: Command = {
  meta: { name: "restart", description: "Stop a VM if it runs, and run its plugin again in the background" },
  args: { vm: vmArg, json: { type: "boolean", description: "Print the new VM as JSON" } },
  async run({ values, output }) {
    const state = openState()
    let words: readonly string[]
    try {
      const vm = text(values, "vm") ?? ""
      words = againOf(state, vm)
      await stopVm(state, vm, { action: "stop" }, output.log)
    } finally {
      state.db.close()
    }
    return showDetached(await detach("__run", words, (line) => output.say(line, "err")), values, output)
  },
}
export default command
