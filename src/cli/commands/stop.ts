import * as v from "valibot"
import { usageError } from "../../base/terms/failure.ts"
import { durationSchema } from "../../inputs/schema/vm.ts"
import { stopVm } from "../../operations/stop.ts"
import { openState } from "../../store/state/open.ts"
import { type Command, text, vmArg } from "../terminal/command.ts"
import { forEach } from "./forEach.ts"

const command: Command = {
  meta: { name: "stop", description: "Stop VMs as their plugins say, and prove that nothing of them is left" },
  args: {
    vm: vmArg,
    timeout: { type: "string", valueHint: "TIME", description: "Kill a guest that has not stopped by then (10s)" },
  },
  takesMany: true,
  async run(invocation) {
    const { values, output } = invocation
    const given = text(values, "timeout")
    const timeout = given === undefined ? undefined : parseTimeout(given)
    using state = openState()
    return await forEach("stop", invocation, async (vm) => {
      const { name, id } = await stopVm(state, vm, { action: "stop", timeout, log: output.log })
      output.log.info(`${name} (${id}) has ended`)
    })
  },
}
export default command

// --- internal ---

function parseTimeout(text: string): number {
  const parsed = v.safeParse(durationSchema, text)
  if (parsed.success) return parsed.output
  throw usageError(`--timeout ${text} is no time for a guest to stop`, "give it with its unit: 500ms, 10s, 2m")
}
