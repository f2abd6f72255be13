import { resolve } from "node:path"
import { openState } from "../../store/state/open.ts"
import { snapshotVm } from "../../supervisor/snapshot/save.ts"
import type { Saved } from "../show/documents.ts"
import { command, vmArg } from "../terminal/command.ts"

export default command({
  meta: {
    name: "snapshot",
    description: "Write a running VM's state, memory and disks to a new directory (Firecracker)",
  },
  args: {
    vm: vmArg,
    dir: { type: "positional", required: true, description: "The directory to make; banger run --restore takes it" },
    base: {
      type: "string",
      valueHint: "DIR",
      description: "The VM's last snapshot: write only the memory that changed since, on a copy of its memory",
    },
  },
  async run({ vm, dir, base }, { output }) {
    using state = openState()
    const { name, id } = await snapshotVm(state, vm, { dir, base })
    output.log.info(`${name} (${id}) is saved, and runs on`)
    output.show({ id, name, dir: resolve(dir) } satisfies Saved, "")
    return undefined
  },
})
