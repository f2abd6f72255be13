import { EXIT } from "../../base/terms/failure.ts"
import { attachVm, controlKey } from "../../operations/attach.ts"
import { openState } from "../../store/state/open.ts"
import { type Command, text, vmArg } from "../terminal/command.ts"

const command: Command = {
  meta: { name: "attach", description: "Connect this terminal to a VM's serial console" },
  args: {
    vm: vmArg,
    "detach-key": { type: "string", default: "ctrl-]", valueHint: "KEY", description: "Leaves the console (ctrl-])" },
  },
  async run({ values, output }) {
    const name = text(values, "detach-key") ?? "ctrl-]"
    const key = controlKey(name)
    const interrupted = new AbortController()
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => interrupted.abort())
    using state = openState()
    const vm = text(values, "vm") ?? ""
    if (process.stdin.isTTY) output.log.info(`attached to ${vm}: ${name} leaves it`)
    const how = await attachVm(state, vm, {
      ...{ detachKey: key, show: output.printSome, log: output.log, stop: interrupted.signal },
    })
    output.log.info(how === "ended" ? `${vm} has ended` : `detached from ${vm}`)
    return EXIT.ok
  },
}
export default command
