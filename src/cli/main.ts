import { EXIT, isFailure, usageError } from "../base/terms/failure.ts"
import type { Invocation } from "./terminal/command.ts"
import { findCommand } from "./terminal/findCommand.ts"
import { createOutput, type Output } from "./terminal/output.ts"
import { cutAtDashes, parseWords } from "./terminal/parse.ts"
import { root } from "./tree.ts"

/** Does what the words of a command line ask for, and says what went wrong. Returns the exit status. */
export async function main(words: readonly string[]): Promise<number> {
  const [own] = cutAtDashes(words)
  const output = createOutput(own.includes("--verbose"), own.includes("--quiet"))
  try {
    return await dispatch(words, output)
  } catch (error) {
    const { showFailure } = await import("./terminal/showFailure.ts")
    showFailure(error, output.log)
    return isFailure(error) ? error.exit : EXIT.failed
  }
}

// --- internal ---

async function dispatch(words: readonly string[], output: Output): Promise<number> {
  const { command, path, left } = await findCommand(root, words)
  const { values, more, rest, options } = parseWords(left, command.args, command.takesMany)
  if (values.version === true && command === root) return dispatch(["version"], output)
  if (values.help === true || (command === root && left.length === 0)) {
    const { help } = await import("./terminal/help.ts")
    output.print(await help(root, command, path))
    return values.help === true ? EXIT.ok : EXIT.usage
  }
  if (rest.length > 0 && command.takesRest !== true) throw usageError(`${path.join(" ")} takes nothing after --`)
  if (command.run === undefined) {
    const below = Object.keys(command.subCommands ?? {}).filter((name) => !name.startsWith("__"))
    throw usageError(`${path.join(" ")} needs a command`, `one of: ${below.join(", ")}`)
  }
  const data: Invocation = { path, more, rest, options, output, root }
  // Of arguments that are not known by name, citty's type takes none.
  const args = { ...values, _: [...more] } as never
  return command.run({ rawArgs: [...left], args, cmd: command, data })
}
