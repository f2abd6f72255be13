import { Failure, usageError } from "../../base/terms/failure.ts"
import { forgetVm } from "../../operations/end/forget.ts"
import { meantBy } from "../../operations/end/stop.ts"
import { openState } from "../../store/state/open.ts"
import type { ForgottenVm } from "../show/documents.ts"
import { command, vmArg } from "../terminal/command.ts"
import { canAsk, confirmed } from "../terminal/confirm.ts"

export default command({
  meta: { name: "forget", description: "Give up a VM of which nothing can be told any more" },
  args: { vm: vmArg, yes: { type: "boolean", alias: "y", description: "Do not ask" } },
  async run({ vm, yes }, { output }) {
    using state = openState()
    const { record } = meantBy(state, vm)
    const { id, name } = record
    const forgotten = await forgetVm(state, record, async ({ why, givenUp }) => {
      output.log.warn([`nothing can be told of ${name} (${id}): ${why}; given up with it:`, ...givenUp].join("\n  "))
      if (yes === true) return true
      if (output.manner.json || !canAsk())
        throw usageError("there is no terminal to ask on", { hint: `banger forget --yes ${id}`, subject: "--yes" })
      return await confirmed(`Forget ${name}?`)
    })
    if (forgotten === undefined) return new Failure("INTERRUPTED", `${name} is not forgotten`, { exit: 1, subject: id })
    output.log.info(`${name} (${id}) is forgotten; what is left of it once nothing uses it: banger sweep`)
    output.show({ id, name, why: forgotten.why, givenUp: forgotten.givenUp } satisfies ForgottenVm, "")
    return undefined
  },
})
