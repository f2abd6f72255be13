import { removeVm } from "../lifecycle/remove.ts"
import { openState } from "../lifecycle/session.ts"
import { EXIT } from "../terms/failure.ts"
import { type Command, text } from "./command.ts"

const command: Command = {
  meta: { name: "rm", description: "Remove a VM that has ended, with its logs" },
  args: {
    vm: { type: "positional", required: true, description: "Name, id, or the beginning of an id" },
    force: { type: "boolean", alias: "f", description: "Kill it first if it still runs" },
  },
  run({ values, output }) {
    const state = openState()
    try {
      const { id, name } = removeVm(state, text(values, "vm") ?? "", values.force === true, output.log.warn)
      output.log.info(`${name} (${id}) is removed`)
    } finally {
      state.db.close()
    }
    return EXIT.ok
  },
}
export default command
