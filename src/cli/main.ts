import { asFailure, EXIT, type Failure, usageError } from "../base/terms/failure.ts"
import { leaveGoneDirectory } from "./goneDirectory.ts"
import type { Text } from "./show/documents.ts"
import type { Invocation } from "./terminal/command.ts"
import { findCommand } from "./terminal/findCommand.ts"
import { createOutput, type Output } from "./terminal/output.ts"
import { cutAtDashes, parseWords } from "./terminal/parse.ts"
import { root } from "./tree.ts"

/**
 * Does what the words of a command line ask for, and says what went wrong. Returns the exit status, by the failure's code. With
 * --json among the words, also where they are wrong, nothing but JSON is printed, and a failure is the last line of it.
 */
export async function main(words: readonly string[]): Promise<number> {
  // A caller's umask may close what is made to others, never to who makes it, or to the VM that owns it.
  process.umask(process.umask() & 0o077)
  const [own] = cutAtDashes(words)
  const given = (option: string) => own.includes(option)
  const json = given("--json")
  // What a hidden command says is listened to by the banger that started it, which makes JSON of what is none.
  const hidden = own.find((word) => !word.startsWith("-"))?.startsWith("__") === true
  const output = await createOutput({ verbose: given("--verbose"), quiet: given("--quiet"), json }, json && !hidden)
  const fail = (error: unknown) => {
    output.fail(error)
    return asFailure(error, "INTERNAL").exit
  }
  if (json) onFault((error) => process.exit(fail(error)))
  try {
    const failure = await dispatch(words, output)
    if (failure === undefined) return EXIT.ok
    // People have read it already.
    return json ? fail(failure) : failure.exit
  } catch (error) {
    return fail(error)
  } finally {
    output.end()
  }
}

// --- internal ---

async function dispatch(words: readonly string[], output: Output): Promise<Failure | undefined> {
  const { command, path, left } = await findCommand(root, words)
  const { values, more, rest, options } = parseWords(left, command.args, command)
  if (values.version === true && command === root) return dispatch(["version"], output)
  if (values.help === true || (command === root && !output.manner.json)) {
    const { help } = await import("./terminal/help.ts")
    const text = await help(root, command, path)
    output.show({ text } satisfies Text, text)
    return values.help === true ? undefined : usageError("banger needs a command", { subject: "COMMAND" })
  }
  if (rest.length > 0 && command.takesRest !== true)
    throw usageError(`${path.join(" ")} takes nothing after --`, { subject: "--" })
  leaveGoneDirectory(command.args, { values, more })
  if (command.run === undefined) {
    const below = Object.keys(command.subCommands ?? {}).filter((name) => !name.startsWith("__"))
    throw usageError(`${path.join(" ")} needs a command`, { hint: `one of: ${below.join(", ")}`, subject: "COMMAND" })
  }
  const data: Invocation = { path, more, rest, options, output, root }
  // Of arguments that are not known by name, citty's type takes none.
  const args = { ...values, _: [...more] } as never
  return command.run({ rawArgs: [...left], args, cmd: command, data })
}

/** An error that nobody waits for, unless a plugin is being run, whose errors have their own way. */
function onFault(work: (error: unknown) => void): void {
  for (const event of ["uncaughtException", "unhandledRejection"] as const)
    process.on(event, (error: unknown) => {
      if (process.listenerCount(event) === 1) work(error)
    })
}
