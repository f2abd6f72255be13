import { ENDING_SIGNALS } from "../../base/linux/signals.ts"
import { withPlace } from "../../base/terms/compiled.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import type { Interrupts } from "./interrupts.ts"

/** What banger itself listens to while a VM runs: without it nobody would see the VM's end, or could ask for it. */
const OWN_EVENTS: readonly string[] = [
  ...["uncaughtException", "unhandledRejection", "SIGCHLD"],
  ...Object.keys(ENDING_SIGNALS),
]

/**
 * Keeps plugin code from ending the process under a VM, or making it deaf: process.exit() throws, process.removeAllListeners()
 * leaves the events that banger listens to, and an error that nobody caught stops the run gracefully, as failed. Returns what
 * puts all back.
 */
export function trapPluginExit(interrupts: Interrupts): () => void {
  const { exit, removeAllListeners } = process
  process.exit = () => {
    const hint = "throw an error to end a run, or return"
    throw new Failure("HOOK_FAILED", "a plugin called process.exit()", { hint, subject: "process.exit" })
  }
  process.removeAllListeners = (event?: string | symbol) => {
    for (const name of event === undefined ? process.eventNames() : [event])
      if (!OWN_EVENTS.includes(String(name))) removeAllListeners.call(process, name as never)
    return process
  }
  const onFault = (error: unknown) => {
    const message = withPlace(error, `an error that the plugin did not catch: ${messageOf(error)}`)
    interrupts.fail(new Failure("HOOK_FAILED", message, { cause: error }))
  }
  process.on("uncaughtException", onFault)
  process.on("unhandledRejection", onFault)
  return () => {
    Object.assign(process, { exit, removeAllListeners })
    process.off("uncaughtException", onFault)
    process.off("unhandledRejection", onFault)
  }
}
