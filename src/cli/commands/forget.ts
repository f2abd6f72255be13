import { Failure, usageError } from "../../base/terms/failure.ts"
import { forgetVm } from "../../operations/end/forget.ts"
import { meantBy } from "../../operations/end/stop.ts"
import { openState } from "../../store/state/open.ts"
import type { ForgottenVm } from "../show/documents.ts"
import { command, vmArg } from "../terminal/command.ts"

export default command({
  meta: { name: "forget", description: "Give up a VM, or what is kept for one, of which nothing can be told any more" },
  args: { vm: vmArg, yes: { type: "boolean", alias: "y", description: "Do not ask" } },
  async run({ vm, yes }, { output }) {
    using state = openState({ toEnd: true })
    const { record } = meantBy(state, vm)
    const { id, name } = record
    const forgotten = await forgetVm(state, record, async ({ removed, why, givenUp }) => {
      const head = removed ? `nothing can be told of ${name} (${id}): ${why}` : `${name} (${id}) has ended, and ${why}`
      output.log.warn([`${head}; given up${removed ? " with it" : ""}:`, ...givenUp].join("\n  "))
      if (yes === true) return true
      if (output.manner.json || !canAsk())
        throw usageError("there is no terminal to ask on", { hint: `banger forget --yes ${id}`, subject: "--yes" })
      return await confirmed(`Forget ${removed ? name : "that"}?`)
    })
    if (forgotten === undefined) return new Failure("INTERRUPTED", "nothing is forgotten", { exit: 1, subject: id })
    output.log.info(
      forgotten.removed
        ? `${name} (${id}) is forgotten; what is left of it once nothing uses it: banger sweep`
        : `that is forgotten; to remove ${name} (${id}), and what else it had: banger rm ${id}`,
    )
    output.show({ id, name, ...forgotten } satisfies ForgottenVm, "")
    return undefined
  },
})

// --- internal ---

/** An answer is shorter. */
const ANSWER_MAX_BYTES = 1024

/** Whether there is a person who can be asked: both ends of the talk are a terminal. */
function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true
}

/** Asks a question on the terminal; true only for an answer that begins with y. */
async function confirmed(question: string): Promise<boolean> {
  process.stderr.write(`${question} [y/N] `)
  const decoder = new TextDecoder()
  let answer = ""
  for await (const piece of Bun.stdin.stream()) {
    answer += decoder.decode(piece, { stream: true })
    if (answer.includes("\n") || answer.length > ANSWER_MAX_BYTES) break
  }
  return /^\s*y/i.test(answer)
}
