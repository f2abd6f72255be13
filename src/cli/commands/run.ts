import type { ArgsDef } from "citty"
import * as v from "valibot"
import { EXIT, usageError } from "../../base/terms/failure.ts"
import { NAME_PATTERN, NAME_WORDS } from "../../base/terms/name.ts"
import { durationSchema } from "../../inputs/schema/vm.ts"
import { type DetachedVm, detach } from "../../operations/detach.ts"
import { runPlugin } from "../../operations/run.ts"
import type { RunRequest, RunResult } from "../../operations/runRequest.ts"
import type { Plan } from "../../supervisor/boot/planRun.ts"
import { exitText, resultJson } from "../../vm/exit.ts"
import { type Command, type Invocation, type Output, text } from "../terminal/command.ts"
import { showFailure } from "../terminal/showFailure.ts"
import { takeConsole } from "../terminal/takeConsole.ts"

/** What `banger run` takes. */
export const runArgs = {
  plugin: { type: "positional", required: true, description: "The plugin file; words after -- are its ctx.args" },
  name: { type: "string", valueHint: "NAME", description: "The VM's name, instead of the plugin's" },
  vmm: { type: "enum", options: ["auto", "firecracker", "qemu"], description: "The VMM, instead of the plugin's" },
  timeout: {
    type: "string",
    valueHint: "TIME",
    description: "Stop the VM, as a failure, if it runs longer (90s, 10m)",
  },
  plan: { type: "boolean", description: "Print every step, path and command without doing any" },
  "keep-on-failure": { type: "boolean", description: "Leave a failed start as it is, for inspection" },
  restore: {
    type: "string",
    valueHint: "DIR",
    description: "Go on from a snapshot instead of booting (Firecracker)",
  },
  trace: { type: "string", valueHint: "FILE", description: "Write the run's phases and hooks as a Chrome trace" },
  detach: {
    type: "boolean",
    alias: "d",
    description: "Return when the VM is running, and print its name; its supervisor goes on",
  },
  supervise: {
    type: "enum",
    options: ["banger", "none"],
    description: "none: leave no process of banger; stop, rm and sweep clean up",
  },
  json: { type: "boolean", description: "Print the result as JSON instead of the guest's console" },
} as const satisfies ArgsDef

const command: Command = {
  meta: { name: "run", description: "Boot the VM that a plugin describes, run its hooks, clean up after it" },
  args: runArgs,
  takesRest: true,
  async run(invocation) {
    const { values, rest, output } = invocation
    if (values.plan === true) return runAs(invocation, "foreground")
    if (values.supervise === "none") return runAs(invocation, "none")
    if (values.detach !== true) return runAs(invocation, "foreground")
    return showDetached(await detach("__run", wordsOf(values, rest), (line) => output.say(line, "err")), values, output)
  },
}
export default command

/** Runs a plugin's VM in this process; `logFile` is where its messages go when it is detached, `tellBooted` hears that it runs. */
export async function runAs(
  { values, rest, output }: Invocation,
  supervisor: RunRequest["supervisor"],
  logFile?: string,
  tellBooted?: (vm: DetachedVm) => void,
): Promise<number> {
  const json = values.json === true || supervisor !== "foreground"
  takeConsole(output, json)
  const timeout = text(values, "timeout")
  const limit = timeout === undefined ? undefined : parseLimit(timeout)
  const name = text(values, "name")
  if (name !== undefined && !NAME_PATTERN.test(name)) throw usageError(`--name ${name} is no name for a VM`, NAME_WORDS)
  const result = await runPlugin({
    plugin: text(values, "plugin") ?? "",
    name,
    vmm: text(values, "vmm"),
    args: rest,
    plan: values.plan === true,
    keepOnFailure: values["keep-on-failure"] === true,
    timeout: limit,
    restore: text(values, "restore"),
    trace: text(values, "trace"),
    log: output.log,
    onConsole: json ? undefined : output.printSome,
    supervisor,
    logFile,
    onBooted: (vm) => {
      if (supervisor === "detached") tellBooted?.(vm)
      else if (supervisor === "none") showDetached(vm, values, output)
    },
  })
  if (result === "left") return EXIT.ok
  if ("steps" in result) return showPlan(result, json, output)
  return showResult(result, values.json === true && supervisor !== "detached", output)
}

/** Prints what became of a detached start, and returns the exit code. */
export function showDetached(vm: DetachedVm | number, values: Invocation["values"], output: Output): number {
  if (typeof vm === "number") return vm
  output.print(values.json === true ? JSON.stringify(vm, null, 2) : vm.name)
  return EXIT.ok
}

/** The words that say the same again to a banger without a terminal. */
export function wordsOf(values: Invocation["values"], rest: readonly string[]): readonly string[] {
  const flags = Object.entries(runArgs).flatMap(([name, { type }]) => {
    const value = values[name]
    if (name === "detach" || type === "positional" || value === undefined || value === false) return []
    return value === true ? [`--${name}`] : [`--${name}=${value}`]
  })
  const global = ["verbose", "quiet"].filter((name) => values[name] === true).map((name) => `--${name}`)
  return [...flags, ...global, text(values, "plugin") ?? "", ...(rest.length > 0 ? ["--", ...rest] : [])]
}

// --- internal ---

/** As the plugin's own `timeouts.run`. */
function parseLimit(text: string): number {
  const parsed = v.safeParse(durationSchema, text)
  if (parsed.success) return parsed.output
  throw usageError(
    `--timeout ${text} is no time for a run`,
    "give above 0 and at most 24h, with its unit: 500ms, 90s, 10m, 2h",
  )
}

function showPlan(plan: Plan, json: boolean, output: Output): number {
  output.print(
    json ? JSON.stringify(plan, null, 2) : plan.steps.map((step, index) => `${index + 1}. ${step}`).join("\n"),
  )
  return EXIT.ok
}

function showResult(result: RunResult, json: boolean, output: Output): number {
  const { id, name, exit, failure, kept, dir, interrupted } = result
  if (json) output.print(resultJson(result))
  if (failure === undefined) output.log.info(`${name}: ${exitText(exit)}`)
  else if (interrupted === undefined || (interrupted === failure.exit && failure.code !== "INTERRUPTED"))
    showFailure(failure, output.log)
  if (kept) output.log.info(`${id} is left as it is: ${dir} has its logs; to remove it: banger rm -f ${id}`)
  return interrupted ?? failure?.exit ?? EXIT.ok
}
