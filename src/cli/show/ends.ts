import { Failure } from "../../base/terms/failure.ts"
import type { DetachedVm } from "../../operations/detach.ts"
import type { RunResult } from "../../operations/run/runRequest.ts"
import { exitText, resultJson } from "../../vm/exit.ts"
import type { Output } from "../terminal/output.ts"
import { relay } from "./relay.ts"

/** Tells how a VM ended, `document` with its JSON to standard output. Returns what failed, told already. */
export function showEnd(
  result: RunResult,
  output: Output,
  { document }: { readonly document: boolean },
): Failure | undefined {
  const { id, name, exit, failure, kept, dir, interrupted } = result
  const ended = failureOf(result)
  if (document) output.print(resultJson(result, ended))
  if (kept) output.log.info(`${id} is left as it is: ${dir} has its logs; to remove it: banger rm -f ${id}`)
  if (failure === undefined) output.log.info(`${name}: ${exitText(exit)}`)
  // What an interrupt made fail is not worth a message of its own.
  else if (!output.manner.json && (interrupted === undefined || interrupted === failure.exit)) output.fail(failure)
  return ended
}

/** Shows a VM that `start` runs in the background; what is said until it runs is passed on. Returns what failed, told already. */
export async function showDetached(
  output: Output,
  start: (say: (line: string) => void) => Promise<DetachedVm | number>,
): Promise<Failure | undefined> {
  const heard = relay(output)
  const vm = await start(heard.say)
  // 0: the VM came up and ended well before that was reported.
  if (typeof vm === "number") return vm === 0 ? undefined : heard.failure(vm)
  output.show(vm, vm.name)
  return undefined
}

// --- internal ---

function failureOf({ id, name, failure, interrupted }: RunResult): Failure | undefined {
  if (interrupted === undefined || failure?.exit === interrupted) return failure
  const message = failure === undefined ? `${name} was interrupted` : `${name} was interrupted: ${failure.message}`
  return new Failure("INTERRUPTED", message, { exit: interrupted, subject: id, hint: failure?.hint, cause: failure })
}
