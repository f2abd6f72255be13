import { takeReporter } from "../../operations/detach.ts"
import { type Command, text } from "../terminal/command.ts"
import { runArgs, runAs } from "./run.ts"

/** What `banger run --detach` goes on as. */
const command: Command = {
  meta: { name: "__run", description: "Supervise a VM without a terminal" },
  args: { ...runArgs, log: { type: "string", description: "Where messages go" } },
  takesRest: true,
  run: (invocation) => runAs(invocation, "detached", text(invocation.values, "log"), takeReporter()),
}
export default command
