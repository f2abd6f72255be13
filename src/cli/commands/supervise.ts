import { EXIT } from "../../base/terms/failure.ts"
import { detach } from "../../operations/detach.ts"
import { type Supervised, superviseVm } from "../../operations/supervise.ts"
import { openState } from "../../store/state/open.ts"
import { exitText } from "../../vm/exit.ts"
import { type Command, type Output, text, vmArg } from "../terminal/command.ts"
import { showFailure } from "../terminal/showFailure.ts"
import { showDetached } from "./run.ts"

const command: Command = {
  meta: { name: "supervise", description: "Watch over a running VM whose supervisor is gone, to its end" },
  args: {
    vm: vmArg,
    detach: { type: "boolean", alias: "d", description: "Return at once; the supervisor goes on" },
  },
  async run({ values, output }) {
    const vm = text(values, "vm") ?? ""
    if (values.detach === true)
      return showDetached(await detach("__supervise", [vm], (line) => output.say(line, "err")), values, output)
    using state = openState()
    return showSupervised(
      await superviseVm(state, vm, {
        log: output.log,
        onReady: ({ name }) => output.log.info(`${name} has a supervisor now`),
      }),
      output,
    )
  },
}
export default command

/** Tells how the VM ended, and returns the exit code. */
export function showSupervised({ name, exit, failure, interrupted }: Supervised, output: Output): number {
  if (failure === undefined) output.log.info(`${name}: ${exitText(exit)}`)
  else if (interrupted === undefined) showFailure(failure, output.log)
  return interrupted ?? failure?.exit ?? EXIT.ok
}
