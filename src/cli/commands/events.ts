import { eventsOf } from "../../operations/events.ts"
import { openStateToLook } from "../../store/state/open.ts"
import { command } from "../terminal/command.ts"
import { untilInterrupted } from "../terminal/untilInterrupted.ts"
import { unlessOwn } from "./sudoVms.ts"

export default command({
  meta: { name: "events", description: "Print what happened to VMs, as JSON lines" },
  args: {
    vm: { type: "positional", required: false, description: "Only of this VM: name, id, or the beginning of an id" },
    follow: { type: "boolean", alias: "f", description: "Print also what happens, until interrupted" },
  },
  async run({ vm, follow }, { output }) {
    const asked = vm === undefined ? undefined : ({ verb: "events", vm, follow: follow === true } as const)
    if (asked !== undefined && (await unlessOwn(asked.vm, asked, { output })) !== undefined) return undefined
    const state = openStateToLook(output.log.warn)
    const events = eventsOf(state, vm)
    state.db.close()
    for (const line of events.past) if (!output.print(line)) return undefined
    if (follow !== true) return undefined
    return untilInterrupted(output.unread(), (enough) =>
      events.follow((line) => {
        if (!output.print(line)) enough()
      }),
    )
  },
})
