import { join } from "node:path"
import type { Exit } from "banger"
import * as v from "valibot"
import { ENDING_SIGNALS } from "../../base/linux/signals.ts"
import { failureSchema } from "../../base/terms/failureSchema.ts"
import { prefixed } from "../../base/terms/log.ts"
import { elfKernel } from "../../inputs/kernel/elfKernel.ts"
import type { ResolvedPlugin } from "../../inputs/plugin/resolved.ts"
import { ownPlaces } from "../../store/state/open.ts"
import { exitSchema } from "../../store/state/vmState.ts"
import type { PluginHost } from "../../supervisor/hooks/pluginHost.ts"
import { connectTerminal } from "../keyboard/runTerminal.ts"
import type { RunRequest, RunResult } from "../run/runRequest.ts"
import { asFailed, gone, type Helper } from "./helperProcess.ts"
import { hookNames, hooksHere } from "./hooksHere.ts"
import { shownConsole } from "./shownConsole.ts"

/**
 * Has root's helper run a plugin's VM, and runs the plugin's hooks here, to the VM's end. Where this process ends first, the helper
 * stops the VM. Throws a failure when nothing was started.
 */
export async function runBySudo(
  host: PluginHost,
  plugin: ResolvedPlugin,
  { request, helper }: { readonly request: RunRequest; readonly helper: Helper },
): Promise<RunResult> {
  const { interrupts } = host
  const { loaded, written, spec } = plugin
  const log = prefixed(request.log, spec.name)
  const hooks = hooksHere(host, plugin, { helper, args: request.args, log })
  const console = shownConsole(request.onConsole, (bytes) => helper.send({ verb: "shown", bytes }))
  // A kernel is unpacked here: root runs no program on what a user brings, and keeps none of it.
  const unpacks = process.arch === "x64" && spec.vmm !== "qemu"
  const kernel = unpacks ? await elfKernel(spec.kernel, join(ownPlaces().state, "kernels")) : spec.kernel
  interrupts.stop.throwIfAborted()
  const id = helper.send({
    ...{
      verb: "run",
      plugin: loaded.source.path,
      sha256: loaded.sha256,
      spec: { ...written, kernel },
      args: request.args,
    },
    ...{ hooks: hookNames(plugin), console: request.onConsole !== undefined },
    ...{ keepOnFailure: request.keepOnFailure, replace: request.replace },
  })
  const stop = () => helper.send({ verb: "interrupt", signal: signalOf(interrupts.exitCode()) })
  interrupts.stop.addEventListener("abort", stop, { once: true })
  interrupts.force.addEventListener("abort", stop, { once: true })
  let disconnect = () => {}
  try {
    for (let said = await helper.next(); said !== undefined; said = await helper.next()) {
      if (said.is === "data") console.show(Buffer.from(said.bytes, "base64"))
      else if (said.is === "log") request.log[said.level](said.message)
      else if (said.is === "hook") hooks.run(said)
      else if (said.is === "enough") hooks.enough(said)
      else if (said.is === "answered" || said.is === "refused") hooks.settle(said)
      else if (said.is === "booted") request.onBooted({ pid: undefined, ...said.vm })
      else if (said.is === "running" && request.onConsole !== undefined) {
        disconnect()
        disconnect = connectTerminal(typed(helper), host, request.interactive)
      } else if (said.is === "failed") throw asFailed(said.error)
      else if (said.is === "done" && said.id === id) {
        disconnect()
        await console.rest(interrupts.next())
        return resultOf(v.parse(endSchema, said.value), host)
      }
    }
    throw gone()
  } finally {
    disconnect()
    interrupts.stop.removeEventListener("abort", stop)
    interrupts.force.removeEventListener("abort", stop)
  }
}

// --- internal ---

const endSchema = v.strictObject({
  ...{ id: v.string(), name: v.string(), dir: v.string(), exit: exitSchema, kept: v.boolean() },
  ...{ interrupted: v.optional(v.number()), error: v.optional(failureSchema) },
})

/** A key at a time is little; what is pasted goes in pieces. */
const KEYS_BYTES = 4096

function typed(helper: Helper): (keys: Uint8Array) => Promise<void> {
  return async (keys) => {
    for (let at = 0; at < keys.length; at += KEYS_BYTES)
      helper.send({ verb: "keys", keys: Buffer.from(keys.subarray(at, at + KEYS_BYTES)).toString("base64") })
  }
}

/** The signal that asked this run to end; SIGTERM where it was a fault of the plugin's. */
function signalOf(exit: number | undefined): "SIGHUP" | "SIGINT" | "SIGQUIT" | "SIGTERM" {
  const names = ["SIGHUP", "SIGINT", "SIGQUIT"] as const
  return names.find((name) => exit === 128 + ENDING_SIGNALS[name]) ?? "SIGTERM"
}

function resultOf(
  { error, interrupted, exit, ...rest }: v.InferOutput<typeof endSchema>,
  { interrupts }: PluginHost,
): RunResult {
  // An error of the plugin's that nobody caught has ended the run, and is what has failed.
  const fault = interrupts.failure()
  const failure = fault ?? (error === undefined ? undefined : asFailed(error))
  const how =
    fault === undefined ? (interrupted === undefined ? undefined : (interrupts.exitCode() ?? interrupted)) : fault.exit
  return { ...rest, exit: exit as Exit, failure, interrupted: how }
}
