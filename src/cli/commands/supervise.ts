import type { Failure } from "../../base/terms/failure.ts"
import { detach } from "../../operations/detach.ts"
import { superviseVm } from "../../operations/supervise.ts"
import { openState } from "../../store/state/open.ts"
import { showDetached, showEnd } from "../show/ends.ts"
import { command, vmArg } from "../terminal/command.ts"
import type { Output } from "../terminal/output.ts"
import { takeConsole } from "../terminal/takeConsole.ts"

export default command({
  meta: { name: "supervise", description: "Watch over a running VM whose supervisor is gone, until it ends" },
  args: {
    vm: vmArg,
    detach: { type: "boolean", alias: "d", description: "Return at once; the supervisor runs in the background" },
    upgrade: { type: "boolean", description: "Hand the VM to this banger: its supervisor becomes this program" },
    json: { type: "boolean", description: "Print how it ended as JSON; with --detach, the VM" },
  },
  async run({ vm, detach: apart, upgrade, json = false }, { options, output }) {
    if (upgrade === true) return upgraded(vm, output)
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

const HOW = {
  "handed over": "its supervisor is this banger now",
  current: "its supervisor is this banger already",
  replaced: "it has another supervisor now",
  supervised: "it has a supervisor now",
} as const

async function upgraded(vm: string, output: Output): Promise<Failure | undefined> {
  const { upgradeSupervisor } = await import("../../operations/upgrade.ts")
  using state = openState()
  return await showDetached(output, async (say) => {
    const done = await upgradeSupervisor(state, vm, { log: output.log, say })
    if (typeof done === "number") return done
    output.log.info(`${done.vm.name}: ${HOW[done.how]}`)
    return done.vm
  })
}
