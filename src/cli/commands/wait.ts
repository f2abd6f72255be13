import type { Exit } from "banger"
import * as v from "valibot"
import { exitOfRecord, failureOfRecord, waitResultOf, waitResultSchema, waitVm } from "../../operations/wait.ts"
import { openState } from "../../store/state/open.ts"
import { exitText } from "../../vm/exit.ts"
import { command, vmArg } from "../terminal/command.ts"
import { durationOf } from "../terminal/duration.ts"
import type { Output } from "../terminal/output.ts"
import { unlessOwn } from "./sudoVms.ts"

export default command({
  meta: { name: "wait", description: "Wait until a VM ends, and print how; fails if it ended badly" },
  args: {
    vm: vmArg,
    timeout: {
      type: "string",
      valueHint: "TIME",
      description: "Fail, with exit status 124, when it still runs after that, as 10m; without it: wait on",
    },
    json: { type: "boolean", description: "Print how it ended as JSON" },
  },
  async run({ vm, timeout }, { output }) {
    const timeoutMs = durationOf("--timeout", timeout)
    const theirs = await waitForTheirs(vm, timeoutMs, output)
    if (theirs === true) return undefined
    using state = openState()
    const record = await waitVm(state, vm, { log: output.log, timeout: timeoutMs, unread: output.unread() })
    if (record === undefined) return undefined
    const exit = exitOfRecord(record)
    output.show(waitResultOf(record), exit === null ? record.state : exitText(exit))
    return failureOfRecord(record)
  },
})

// --- internal ---

/** Waits for a VM that root's helper has for this user, and prints how it ended; false where it has none of that name. */
async function waitForTheirs(vm: string, timeoutMs: number | undefined, output: Output): Promise<boolean> {
  const printed: Uint8Array[] = []
  const tell = () => {
    const text = Buffer.concat(printed).toString()
    if (output.manner.json) return output.print(Buffer.from(text))
    const ended = v.parse(v.pipe(v.string(), v.parseJson(), waitResultSchema), text)
    return output.print(ended.exit === null ? ended.state : exitText(ended.exit as Exit))
  }
  try {
    const request = { verb: "wait", vm, ...(timeoutMs !== undefined && { timeoutMs }) } as const
    const asked = await unlessOwn(vm, request, { output, data: (bytes) => printed.push(bytes) })
    if (asked !== undefined) tell()
    return asked !== undefined
  } catch (error) {
    if (printed.length > 0) tell()
    throw error
  }
}
