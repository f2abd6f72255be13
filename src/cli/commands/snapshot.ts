import { EXIT } from "../../base/terms/failure.ts"
import { openState } from "../../store/state/open.ts"
import { snapshotVm } from "../../supervisor/snapshot/save.ts"
import { type Command, text } from "../terminal/command.ts"

const command: Command = {
  meta: {
    name: "snapshot",
    description: "Write a running VM's state, memory and disks to a new directory (Firecracker)",
  },
  args: {
    vm: { type: "positional", required: true, description: "Name, id, or the beginning of an id" },
    dir: { type: "positional", required: true, description: "The directory to make; banger run --restore takes it" },
  },
  async run({ values, output }) {
    using state = openState()
    const { name, id } = await snapshotVm(state, text(values, "vm") ?? "", text(values, "dir") ?? "")
    output.log.info(`${name} (${id}) is saved, and goes on`)
    return EXIT.ok
  },
}
export default command
