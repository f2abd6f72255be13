import type { Asker } from "../../inputs/plugin/trust.ts"
import { takeReporter } from "../../operations/detach.ts"
import { askerBefore } from "../../operations/restart.ts"
import { openState } from "../../store/state/open.ts"
import { findById } from "../../store/state/records.ts"
import { command } from "../terminal/command.ts"
import { runArgs, runAs } from "./run.ts"

/** What `banger run --detach` starts in the background. */
export default command({
  meta: { name: "__run", description: "Supervise a VM without a terminal", hidden: true },
  args: {
    ...runArgs,
    log: { type: "string", description: "Where messages go" },
    restarts: { type: "string", description: "The restarts by now" },
    kept: { type: "string", description: "Where the plugin is kept as it was booted first" },
    "asked-as": { type: "string", description: "The VM that was run for the same user" },
  },
  takesRest: true,
  run: (values, invocation) =>
    runAs(values, invocation, {
      as: "detached",
      logFile: values.log,
      restarts: values.restarts,
      kept: values.kept,
      asker: askerOf(values["asked-as"]),
      tellBooted: takeReporter(),
    }),
})

// --- internal ---

/** Nobody where its record has gone: then only what may run anyway is run. */
function askerOf(id: string | undefined): Asker | undefined {
  if (id === undefined) return undefined
  using state = openState({ newer: "used" })
  const record = findById(state.db, id)
  return record && askerBefore(record)
}
