import { ownEnvironment } from "../../base/linux/environment.ts"
import { keepOnExec, replaceProgram } from "../../base/linux/exec.ts"
import { holdSignals } from "../../base/linux/signals.ts"
import { selfArgv } from "../../host/process/self.ts"
import { HELD } from "./signals.ts"

/**
 * Makes this process another banger, named for the VM, with these words and descriptors. Throws when the kernel refuses; then
 * this process is as it was, but that its signals are held back.
 */
export function become(name: string, words: readonly string[], fds: readonly number[]): never {
  holdSignals(HELD)
  keepOnExec(fds)
  const [path = "", ...own] = selfArgv()
  return replaceProgram({ path, argv: [`banger: ${name}`, ...own, ...words], env: ownEnvironment() })
}
