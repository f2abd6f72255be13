import * as v from "valibot"
import { exitText } from "../lifecycle/exit.ts"
import { resultJson } from "../lifecycle/result.ts"
import { type Plan, type RunResult, runPlugin } from "../lifecycle/run.ts"
import { durationSchema } from "../plugin/spec.ts"
import { NAME_PATTERN, NAME_WORDS } from "../state/vmId.ts"
import { EXIT, usage } from "../terms/failure.ts"
import { type Command, type Output, text } from "./command.ts"
import { showFailure } from "./showFailure.ts"

const command: Command = {
  meta: { name: "run", description: "Boot the VM that a plugin describes, run its hooks, clean up after it" },
  args: {
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
    json: { type: "boolean", description: "Print the result as JSON instead of the guest's console" },
  },
  takesRest: true,
  async run({ values, rest, output }) {
    const json = values.json === true
    takeConsole(output, json)
    const timeout = text(values, "timeout")
    const limit = timeout === undefined ? undefined : parseLimit(timeout)
    const name = text(values, "name")
    if (name !== undefined && !NAME_PATTERN.test(name)) throw usage(`--name ${name} is no name for a VM`, NAME_WORDS)
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
      report: output.log,
      onConsole: json ? undefined : output.printSome,
    })
    return "steps" in result ? showPlan(result, json, output) : showResult(result, json, output)
  },
}
export default command

// --- internal ---

/** As the plugin's own `timeouts.run`. */
function parseLimit(text: string): number {
  const parsed = v.safeParse(durationSchema, text)
  if (parsed.success) return parsed.output
  throw usage(
    `--timeout ${text} is no time for a run`,
    "give above 0 and at most 24h, with its unit: 500ms, 90s, 10m, 2h",
  )
}

/**
 * What a plugin prints must not make a VM wait for a reader. With --json standard output is for the result, and it goes
 * where messages go.
 */
function takeConsole(output: Output, json: boolean): void {
  const { format } = process.getBuiltinModule("node:util")
  const out = (...words: unknown[]) => output.say(format(...words), json ? "err" : "out")
  const err = (...words: unknown[]) => output.say(format(...words), "err")
  Object.assign(console, { log: out, info: out, debug: out, warn: err, error: err })
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
  else if (interrupted === undefined || interrupted === failure.exit) showFailure(failure, output.log)
  if (kept) output.log.info(`${id} is left as it is: ${dir} has its logs; to remove it: banger rm -f ${id}`)
  return interrupted ?? failure?.exit ?? EXIT.ok
}
