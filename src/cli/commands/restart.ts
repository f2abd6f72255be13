import { EXIT } from "../../base/terms/failure.ts"
import { selfArgv } from "../../host/process/self.ts"
import { detach } from "../../operations/detach.ts"
import { rerunArgv } from "../../operations/rerun.ts"
import { stopVm } from "../../operations/stop.ts"
import { openState, ownEnvironment } from "../../store/state/open.ts"
import { command, vmArg } from "../terminal/command.ts"
import { showDetached } from "./run.ts"

export default command({
  meta: { name: "restart", description: "Stop a VM if it runs, and run its plugin again in the background" },
  args: { vm: vmArg, json: { type: "boolean", description: "Print the new VM as JSON" } },
  async run({ vm, json }, { output }) {
    const state = openState()
    let words: readonly string[]
    try {
      words = rerunArgv(state, vm)
      const planned = await plan(words)
      if (planned !== EXIT.ok) {
        output.log.error(`${vm} is left as it is: its plugin cannot be run again`)
        return planned
      }
      await stopVm(state, vm, { action: "stop" }, output.log)
    } finally {
      state.db.close()
    }
    return showDetached(await detach("__run", words, (line) => output.say(line, "err")), json === true, output)
  },
})

// --- internal ---

/** Before the VM is stopped it is known that its plugin can still be loaded, and all its files are there. Returns the exit code. */
async function plan(words: readonly string[]): Promise<number> {
  const child = Bun.spawn([...selfArgv(), "run", "--plan", ...words], {
    stdio: ["ignore", "ignore", "inherit"],
    env: ownEnvironment(),
  })
  return await child.exited
}
