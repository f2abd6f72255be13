import type { ArgsDef } from "citty"
import { type Failure, usageError } from "../../base/terms/failure.ts"
import { NAME_PATTERN, NAME_WORDS } from "../../base/terms/name.ts"
import type { DetachedVm } from "../../operations/detach.ts"
import { type RunElsewhere, runPlugin } from "../../operations/run/run.ts"
import type { RunRequest } from "../../operations/run/runRequest.ts"
import { unpackRestarts } from "../../supervisor/rest/words.ts"
import { showDetached, showEnd } from "../show/ends.ts"
import { command, type Invocation, type Values } from "../terminal/command.ts"
import { durationOf } from "../terminal/duration.ts"
import type { globalArgs } from "../terminal/globalArgs.ts"
import { takeConsole } from "../terminal/takeConsole.ts"
import { versionText } from "../terminal/version.ts"

/** What `banger run` takes. */
export const runArgs = {
  plugin: { type: "positional", required: true, description: "The plugin file; words after -- are its ctx.args" },
  name: { type: "string", valueHint: "NAME", description: "The VM's name, instead of the plugin's" },
  vmm: { type: "enum", options: ["auto", "firecracker", "qemu"], description: "The VMM, instead of the plugin's" },
  timeout: {
    type: "string",
    valueHint: "TIME",
    description:
      "Stop the VM, as a failure, if it runs longer than that: 90s; without it: never, or as the plugin says",
  },
  plan: { type: "boolean", description: "Print every step, path and command without doing any" },
  "keep-on-failure": { type: "boolean", description: "Leave a failed start as it is, for inspection" },
  replace: { type: "boolean", description: "Stop the VM that has the name first" },
  restore: {
    type: "string",
    valueHint: "DIR",
    description: "Continue from a snapshot instead of booting (Firecracker)",
  },
  trace: { type: "string", valueHint: "FILE", description: "Write the run's phases and hooks as a Chrome trace" },
  interactive: {
    type: "boolean",
    alias: "i",
    description: "Give standard input to the guest's console also where it is no terminal",
  },
  detach: {
    type: "boolean",
    alias: "d",
    description: "Return when the VM is running, and print its name; its supervisor stays in the background",
  },
  supervise: {
    type: "enum",
    options: ["banger", "none"],
    description: "none: leave no process of banger; stop, rm and sweep clean up",
  },
  json: { type: "boolean", description: "Print the result as JSON instead of the guest's console" },
} as const satisfies ArgsDef

export default command({
  meta: { name: "run", description: "Boot the VM that a plugin describes, run its hooks, clean up after it" },
  args: runArgs,
  takesRest: true,
  async run(values, invocation) {
    const { plugin, plan, supervise, detach: apart } = values
    if (values.interactive === true && (apart === true || supervise === "none"))
      throw usageError("a VM in the background is given no input", {
        ...{ hint: "leave --interactive out, and type to it by banger attach VM", subject: "--interactive" },
      })
    if (plan === true) return runAs(values, invocation, { as: "foreground" })
    if (supervise === "none") return runAs(values, invocation, { as: "none" })
    if (apart !== true) return runAs(values, invocation, { as: "foreground" })
    const { options, rest, output } = invocation
    const words = [...options.filter((word) => word !== "--detach"), plugin, "--", ...rest]
    const { detach } = await import("../../operations/detach.ts")
    return showDetached(output, (say) => detach("__run", words, say))
  },
})

/** How this process supervises the VM that it runs. */
export interface Supervising {
  readonly as: RunRequest["supervisor"]
  /** Where its messages go, when it is detached. */
  readonly logFile?: string | undefined
  /** The restarts by now, as one word. */
  readonly restarts?: string | undefined
  /** Where the plugin is kept as it was booted first, where this run is a restart. */
  readonly kept?: string | undefined
  /** Who asked for the VM before this one. */
  readonly asker?: RunRequest["asker"]
  /** Hears that the VM is running. */
  readonly tellBooted?: (vm: DetachedVm) => void
}

/** Runs a plugin's VM in this process. */
export async function runAs(
  values: Values<typeof runArgs & typeof globalArgs>,
  { rest, output }: Invocation,
  { as: supervisor, logFile, restarts, kept, asker, tellBooted }: Supervising,
): Promise<Failure | undefined> {
  const { plugin, name, vmm, plan, restore, trace } = values
  const json = values.json === true || supervisor !== "foreground"
  takeConsole(output, json)
  const timeout = durationOf("--timeout", values.timeout)
  if (name !== undefined && !NAME_PATTERN.test(name))
    throw usageError(`--name ${name} is not a name for a VM`, { hint: NAME_WORDS, subject: "--name" })
  if (kept !== undefined) {
    const { useKeptModules } = await import("../../supervisor/rest/useKeptModules.ts")
    useKeptModules(kept, output.log)
  }
  const asked = {
    plugin,
    name,
    vmm,
    args: rest,
    plan: plan === true,
    keepOnFailure: values["keep-on-failure"] === true,
    replace: values.replace === true,
    timeout,
    interactive: values.interactive === true,
    restore,
    trace,
    log: output.log,
    onConsole: json ? undefined : output.printSome,
    supervisor,
    logFile,
    asker,
    restarts: restarts === undefined ? undefined : unpackRestarts(restarts),
    onBooted: (vm: DetachedVm) => {
      if (supervisor === "detached") tellBooted?.(vm)
      else if (supervisor === "none") output.show(vm, vm.name)
    },
  } satisfies RunRequest
  const result = await runPlugin(asked, { helpedBy: process.geteuid?.() === 0 ? undefined : helpedBy })
  if (result === "left") return undefined
  if (!("steps" in result))
    return showEnd(result, output, { document: values.json === true && supervisor !== "detached" })
  output.show(result, result.steps.map((step, index) => `${index + 1}. ${step}`).join("\n"))
  return undefined
}

// --- internal ---

/** Loaded only where a user runs it who is not root. */
const helpedBy: RunElsewhere = async (...run) => {
  const { bySudo } = await import("../../operations/sudo/maySudo.ts")
  return await bySudo(versionText())(...run)
}
