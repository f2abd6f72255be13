import { usageError } from "../../base/terms/failure.ts"
import { followLogs, idOfBoot, showLogs } from "../../operations/logs.ts"
import { jsonLines } from "../show/jsonLines.ts"
import { command, vmArg } from "../terminal/command.ts"
import { countOf } from "../terminal/duration.ts"
import { unlessOwn } from "./sudoVms.ts"

/** docs/design.md has why. */
const NO_TIMES = {
  words: "a console has no times: a VMM writes what its guest says, and nobody is asked to see each line come",
  hint: "the last lines: --tail N; times of the VM's own events: --events; times of the guest's own: printk.time=1 in bootArgs, or its logger",
}

export default command({
  meta: { name: "logs", description: "Print what a VM's serial console said" },
  args: {
    vm: vmArg,
    follow: { type: "boolean", alias: "f", description: "Print also what comes, until the VM ends" },
    tail: { type: "string", alias: "n", valueHint: "N", description: "Begin with the last N lines (of each file)" },
    boot: { type: "string", valueHint: "N", description: "Of an earlier boot of its name: -1 is the one before" },
    vmm: { type: "boolean", description: "Print the VMM's own messages instead" },
    events: { type: "boolean", description: "Print the VM's events instead, as JSON lines" },
    supervisor: { type: "boolean", description: "Print what its detached supervisor said instead" },
    json: { type: "boolean", description: "Print each line as JSON" },
  },
  refuses: { "--since": NO_TIMES, "--until": NO_TIMES, "--timestamps": NO_TIMES, "-t": NO_TIMES },
  async run(values, { output }) {
    const { vm, follow, json } = values
    const which = (["events", "vmm", "supervisor"] as const).find((name) => values[name] === true) ?? "console"
    const last = values.tail === undefined ? undefined : countOf("--tail", values.tail)
    const request = { verb: "logs", vm, which, tail: last, follow: follow === true, json: json === true } as const
    if ((await unlessOwn(vm, request, { output })) !== undefined) return undefined
    const tail = last === undefined ? undefined : { lines: last }
    const lines = json === true ? jsonLines(output.print, which === "events" ? isJson : () => false) : undefined
    const print = lines?.write ?? output.print
    const boot = bootOf(values.boot)
    const shown = boot === 0 ? vm : idOfBoot(vm, boot, output.log.warn)
    if (follow === true) await followLogs(shown, which, { show: print, unread: output.unread(), tail })
    else showLogs(shown, which, { show: print, warn: output.log.warn, tail })
    lines?.end()
    return undefined
  },
})

// --- internal ---

/** How many boots back: of 0, -1, -2, … */
function bootOf(text: string | undefined): number {
  if (text === undefined) return 0
  if (/^-?\d{1,4}$/.test(text) && Number(text) <= 0) return -Number(text)
  throw usageError(`--boot ${text} is no boot`, { hint: "0 is the newest, -1 the one before it", subject: "--boot" })
}

/** An event that a full disk or a crash cut off is not. */
function isJson(line: string): boolean {
  try {
    JSON.parse(line)
    return true
  } catch {
    return false
  }
}
