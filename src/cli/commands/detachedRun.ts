import { takeReporter } from "../../operations/detach.ts"
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
  },
  takesRest: true,
  run: (values, invocation) =>
    runAs(values, invocation, {
      as: "detached",
      logFile: values.log,
      restarts: values.restarts,
      kept: values.kept,
      tellBooted: takeReporter(),
    }),
})
