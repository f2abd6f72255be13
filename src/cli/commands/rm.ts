import { removeVm } from "../../operations/end/remove.ts"
import { openState } from "../../store/state/open.ts"
import { listRecords } from "../../store/state/records.ts"
import { isFinal } from "../../store/state/vmState.ts"
import { command } from "../terminal/command.ts"
import { eachVmArgs } from "./forEach.ts"
import { forEachOfBoth } from "./sudoVms.ts"

export default command({
  meta: { name: "rm", description: "Remove VMs that have ended, with their logs" },
  args: {
    ...eachVmArgs("Every VM that has ended; with --force every VM"),
    force: { type: "boolean", alias: "f", description: "Kill it first if it still runs; that there is none is fine" },
  },
  takesMany: true,
  async run({ vm, all, force }, invocation) {
    using state = openState({ toEnd: true })
    return await forEachOfBoth({ vm, all }, invocation, {
      verb: "rm",
      more: force === true ? { force } : {},
      state,
      words: { doing: "removing", one: "is removed", many: "are removed" },
      mayBeGone: force === true,
      all: () =>
        listRecords(state.db).filter(
          (record) => force === true || (isFinal(record.state) && record.restart_at === null),
        ),
      work: (vm, how) => removeVm(state, vm, { force: force === true, ...how }),
    })
  },
})
