import { consoleOf } from "../lifecycle/logs.ts"
import { EXIT } from "../terms/failure.ts"
import { type Command, text } from "./command.ts"

const command: Command = {
  meta: { name: "logs", description: "Print what a VM's serial console said" },
  args: {
    vm: { type: "positional", required: true, description: "Name, id, or the beginning of an id" },
    vmm: { type: "boolean", description: "Print the VMM's own messages instead" },
    events: { type: "boolean", description: "Print the VM's events instead, as JSON lines" },
  },
  run({ values, output }) {
    const which = values.events === true ? "events" : values.vmm === true ? "vmm" : "console"
    for (const part of consoleOf(text(values, "vm") ?? "", which)) output.print(part)
    return EXIT.ok
  },
}
export default command
