import { detach } from "../../operations/detach.ts"
import { superviseVm } from "../../operations/supervise.ts"
import { openState } from "../../store/state/open.ts"
import { showDetached, showEnd } from "../show/ends.ts"
import { command, vmArg } from "../terminal/command.ts"
import { takeConsole } from "../terminal/takeConsole.ts"

export default command({
  meta: { name: "supervise", description: "Watch over a running VM whose supervisor is gone, until it ends" },
  args: {
    vm: vmArg,
    detach: { type: "boolean", alias: "d", description: "Return at once; the supervisor runs in the background" },
    json: { type: "boolean", description: "Print how it ended as JSON; with --detach, the VM" },
  },
  async run({ vm, detach: apart, json = false }, { options, output }) {
    if (apart === true) {
      const words = [...options.filter((word) => word !== "--detach"), vm]
      return showDetached(output, (say) => detach("__supervise", words, say))
    }
    takeConsole(output, json)
    using state = openState()
    const onReady = ({ name }: { readonly name: string }) => output.log.info(`${name} has a supervisor now`)
    return showEnd(await superviseVm(state, vm, { log: output.log, onReady }), output, { document: json })
  },
})
