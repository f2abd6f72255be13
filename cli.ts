import type { Command, Output } from "./src/cli/terminal/command.ts"
import { versionText } from "./src/cli/terminal/version.ts"

/** Every subcommand, loaded only when it is the one to run. */
const COMMANDS: Readonly<Record<string, () => Promise<{ default: Command }>>> = {
  run: () => import("./src/cli/commands/run.ts"),
  ps: () => import("./src/cli/commands/ps.ts"),
  logs: () => import("./src/cli/commands/logs.ts"),
  attach: () => import("./src/cli/commands/attach.ts"),
  stop: () => import("./src/cli/commands/stop.ts"),
  kill: () => import("./src/cli/commands/kill.ts"),
  restart: () => import("./src/cli/commands/restart.ts"),
  rm: () => import("./src/cli/commands/rm.ts"),
  wait: () => import("./src/cli/commands/wait.ts"),
  inspect: () => import("./src/cli/commands/inspect.ts"),
  events: () => import("./src/cli/commands/events.ts"),
  supervise: () => import("./src/cli/commands/supervise.ts"),
  doctor: () => import("./src/cli/commands/doctor.ts"),
  get: () => import("./src/cli/commands/get.ts"),
  update: () => import("./src/cli/commands/update.ts"),
  complete: () => import("./src/cli/commands/complete.ts"),
  net: () => import("./src/cli/commands/net.ts"),
  snapshot: () => import("./src/cli/commands/snapshot.ts"),
  sweep: () => import("./src/cli/commands/sweep.ts"),
  system: () => import("./src/cli/commands/system.ts"),
  init: () => import("./src/cli/commands/init.ts"),
  __run: () => import("./src/cli/commands/detachedRun.ts"),
  __supervise: () => import("./src/cli/commands/detachedSupervise.ts"),
  __recover: () => import("./src/cli/commands/recoverOne.ts"),
}

// Explicitly: what a plugin left running (a timer, a socket) must not keep this process.
process.exit(await main(process.argv.slice(2)))

async function main(words: readonly string[]): Promise<number> {
  const [first] = words
  if (first === "--version" || first === "-V" || first === "version") return printVersion()
  const cut = words.indexOf("--")
  const own = cut === -1 ? words : words.slice(0, cut)
  const { createOutput } = await import("./src/cli/terminal/output.ts")
  const output = createOutput(own.includes("--verbose"), own.includes("--quiet"))
  try {
    return await dispatch(first, words.slice(1), output)
  } catch (error) {
    const { isFailure } = await import("./src/base/terms/failure.ts")
    const { showFailure } = await import("./src/cli/terminal/showFailure.ts")
    showFailure(error, output.log)
    return isFailure(error) ? error.exit : 1
  }
}

function printVersion(): number {
  // Not process.stdout: making that stream would take a third of the time this command takes.
  console.log(versionText())
  return 0
}

async function dispatch(name: string | undefined, words: readonly string[], output: Output): Promise<number> {
  const { help, commandHelp } = await import("./src/cli/terminal/help.ts")
  if (name === undefined || name === "help" || name === "--help" || name === "-h") {
    const asked = name === "help" ? words[0] : undefined
    const { topicText } = await import("./src/cli/terminal/topics.ts")
    const topic = asked === undefined ? undefined : topicText(asked)
    output.print(asked === undefined ? help(await all()) : (topic ?? (await commandHelp(await load(asked)))))
    return name === undefined ? 2 : 0
  }
  const command = await load(name)
  const { parseWords } = await import("./src/cli/terminal/parse.ts")
  const { globalArgs } = await import("./src/cli/terminal/globalArgs.ts")
  const { values, more, rest } = parseWords(words, { ...command.args, ...globalArgs }, command.takesMany)
  if (values.help === true) {
    output.print(await commandHelp(command))
    return 0
  }
  if (rest.length > 0 && !command.takesRest) {
    const { usageError } = await import("./src/base/terms/failure.ts")
    throw usageError(`banger ${name} takes nothing after --`)
  }
  return command.run({ values, more, rest, output, commands: command.takesCommands ? await all() : [] })
}

async function load(name: string): Promise<Command> {
  const loader = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (loader !== undefined) return (await loader()).default
  const { usageError } = await import("./src/base/terms/failure.ts")
  const { nearest } = await import("./src/base/terms/nearest.ts")
  const { TOPICS } = await import("./src/cli/terminal/topics.ts")
  const near = nearest(name, [...listed(), "version", "help", ...Object.keys(TOPICS)])
  throw usageError(
    `there is no command ${name}`,
    near === undefined ? "banger --help lists them" : `did you mean ${near}?`,
  )
}

async function all(): Promise<readonly Command[]> {
  return Promise.all(listed().map(load))
}

/** All but those that banger calls itself by. */
function listed(): readonly string[] {
  return Object.keys(COMMANDS).filter((name) => !name.startsWith("__"))
}
