import { EXIT, isFailure } from "../terms/failure.ts"
import type { Output } from "./command.ts"
import { showFailure } from "./showFailure.ts"

/** Does the same to each, in their order; one failure does not stop the others. Returns the exit code of the first. */
export async function forEach(
  names: readonly string[],
  log: Output["log"],
  work: (name: string) => Promise<void>,
): Promise<number> {
  let exit: number = EXIT.ok
  for (const name of names) {
    try {
      await work(name)
    } catch (error) {
      showFailure(error, log)
      if (exit === EXIT.ok) exit = isFailure(error) ? error.exit : EXIT.failed
    }
  }
  return exit
}
