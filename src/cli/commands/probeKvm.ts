import { runProbe } from "../../host/kvm/runProbe.ts"
import { PROBE_COMMAND } from "../../host/kvm/tried.ts"
import { command } from "../terminal/command.ts"

/** What banger starts to find out whether a guest can run by KVM: a process that a bad KVM may hold for ever. */
export default command({
  meta: { name: PROBE_COMMAND, description: "Run a tiny guest by KVM and print what came of it", hidden: true },
  args: {},
  async run(_, { output }) {
    const tried = runProbe(() => output.show("begun", "begun"))
    output.show(tried, JSON.stringify(tried))
    return undefined
  },
})
