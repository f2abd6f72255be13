import { ownEnvironment } from "../../base/linux/environment.ts"
import { keepOnExec, replaceProgram } from "../../base/linux/exec.ts"
import { holdSignals } from "../../base/linux/signals.ts"
import { selfArgv } from "../../host/process/self.ts"
import { HELD } from "./signals.ts"

/** What a process becomes. */
export interface Next {
  readonly words: readonly string[]
  /** What stays open. */
  readonly fds: readonly number[]
  /** The first words of the program; this very one's, when undefined. */
  readonly program?: readonly string[]
}

/**
 * Makes this process another banger, named for the VM. Throws when the kernel refuses; then this process is as it was, but that
 * its signals are held back.
 */
export function become(name: string, { words, fds, program = selfArgv() }: Next): never {
  holdSignals(HELD)
  const [path = "", ...own] = program
  keepOnExec(fds)
  try {
    return replaceProgram({ path, argv: [`banger: ${name}`, ...own, ...words], env: ownEnvironment() })
  } catch (error) {
    keepOnExec([])
    throw error
  }
}
