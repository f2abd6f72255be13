import { EXIT } from "../../base/terms/failure.ts"
import { detach } from "../../operations/detach.ts"
import { type Supervised, superviseVm } from "../../operations/supervise.ts"
import { openState } from "../../store/state/open.ts"
import { exitText } from "../../vm/exit.ts"
import { command, vmArg } from "../terminal/command.ts"
import type { Output } from "../terminal/output.ts"
import { showFailure } from "../terminal/showFailure.ts"
import { showDetached } from "./run.ts"

export default command({
  meta: { name: "supervise", description: "Watch over a running VM whose supervisor is gone, to its end" },
  args: {
    vm: vmArg,
    detach: { type: "boolean", alias: "d", description: "Return at once; the supervisor runs in the background" },
  },
  async run({ vm, detach: apart, json }, { output }) {
    if (apart === true)
      return showDetached(await detach("__supervise", [vm], (line) => output.say(line, "err")), json === true, output)
    using state = openState()
    const onReady = ({ name }: { readonly name: string }) => output.log.info(`${name} has a supervisor now`)
    return showSupervised(await superviseVm(state, vm, { log: output.log, onReady }), output)
  },
})

/** Tells how the VM ended, and returns the exit status. */
export function showSupervised({ name, exit, failure, interrupted }: Supervised, output: Output): number {
  if (failure === undefined) output.log.info(`${name}: ${exitText(exit)}`)
  else if (interrupted === undefined) showFailure(failure, output.log)
  return interrupted ?? failure?.exit ?? EXIT.ok
}
