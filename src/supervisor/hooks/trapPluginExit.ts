import { Failure, messageOf } from "../../base/terms/failure.ts"
import type { Interrupts } from "./interrupts.ts"

/**
 * Keeps plugin code from ending the process under a VM: process.exit() throws, and an error that nobody caught stops the
 * run gracefully, as failed. Returns what puts all back.
 */
export function trapPluginExit(interrupts: Interrupts): () => void {
  const { exit } = process
  process.exit = () => {
    const hint = "throw an error to end a run, or return"
    throw new Failure("HOOK_FAILED", "a plugin called process.exit()", { hint, subject: "process.exit" })
  }
  const onFault = (error: unknown) => {
    interrupts.fail(
      new Failure("HOOK_FAILED", `an error that the plugin did not catch: ${messageOf(error)}`, { cause: error }),
    )
  }
  process.on("uncaughtException", onFault)
  process.on("unhandledRejection", onFault)
  return () => {
    process.exit = exit
    process.off("uncaughtException", onFault)
    process.off("unhandledRejection", onFault)
  }
}
