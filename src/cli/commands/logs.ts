import { EXIT } from "../../base/terms/failure.ts"
import { followLogs, showLogs } from "../../operations/logs.ts"
import { command, vmArg } from "../terminal/command.ts"

export default command({
  meta: { name: "logs", description: "Print what a VM's serial console said" },
  args: {
    vm: vmArg,
    follow: { type: "boolean", alias: "f", description: "Go on printing what comes, until the VM ends" },
    vmm: { type: "boolean", description: "Print the VMM's own messages instead" },
    events: { type: "boolean", description: "Print the VM's events instead, as JSON lines" },
    supervisor: { type: "boolean", description: "Print what its detached supervisor said instead" },
  },
  async run(values, { output }) {
    const { vm, follow } = values
    const which = (["events", "vmm", "supervisor"] as const).find((name) => values[name] === true) ?? "console"
    if (follow === true) await followLogs(vm, which, output.print)
    else showLogs(vm, which, { show: output.print, warn: output.log.warn })
    return EXIT.ok
  },
})
