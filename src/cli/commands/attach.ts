import { Failure } from "../../base/terms/failure.ts"
import { attachVm, controlKey } from "../../operations/attach.ts"
import { openState } from "../../store/state/open.ts"
import { command, vmArg } from "../terminal/command.ts"

export default command({
  meta: { name: "attach", description: "Connect this terminal to a VM's serial console" },
  args: {
    vm: vmArg,
    "detach-key": {
      type: "string",
      default: "ctrl-]",
      valueHint: "KEY",
      description: "The key that leaves the console",
    },
  },
  async run({ vm, "detach-key": name }, { output }) {
    const key = controlKey(name)
    if (output.manner.json) throw noJson(vm)
    const interrupted = new AbortController()
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => interrupted.abort())
    using state = openState()
    if (process.stdin.isTTY) output.log.info(`attached to ${vm}: ${name} leaves it`)
    const how = await attachVm(state, vm, {
      ...{
        detachKey: key,
        show: output.printSome,
        log: output.log,
        stop: AbortSignal.any([interrupted.signal, output.unread()]),
      },
    })
    output.log.info(how === "ended" ? `${vm} has ended` : `detached from ${vm}`)
  },
})

// --- internal ---

function noJson(vm: string): Failure {
  const hint = `to follow what it prints as JSON: banger logs -f --json ${vm}`
  return new Failure("USAGE", "a console that is typed into is not JSON", { hint, subject: "--json" })
}
