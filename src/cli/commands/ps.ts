import { Failure, joinFailures } from "../../base/terms/failure.ts"
import { jsonText } from "../../base/terms/message.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import { openState, openStateToLook, type State } from "../../store/state/open.ts"
import { listVms, stateWords, type VmStatus } from "../../vm/status.ts"
import { table } from "../show/table.ts"
import { command } from "../terminal/command.ts"
import type { Output } from "../terminal/output.ts"
import { untilInterrupted } from "../terminal/untilInterrupted.ts"

/** `--watch` looks this often, in milliseconds. */
const REDRAW_MS = 1000

export default command({
  meta: { name: "ps", description: "List VMs, with what is proven of each now" },
  args: {
    all: { type: "boolean", alias: "a", description: "Also those that have ended" },
    json: { type: "boolean", description: "Print them as JSON" },
    quiet: { type: "boolean", alias: "q", description: "Print only their ids, a line each" },
    watch: { type: "boolean", alias: "w", description: "Print the list again when it changes, until interrupted" },
    reconcile: { type: "boolean", description: "First finish VMs that are dead and whose banger is gone" },
  },
  async run({ all, quiet, watch: again, reconcile: first }, { output }) {
    const text = quiet === true ? idsOf : tableOf
    using state = first === true ? openState({ toEnd: true }) : openStateToLook(output.log.warn)
    const failed = first === true ? await reconcile(state, output) : undefined
    if (again === true) return await watch(() => listVms(state, all === true), { text, output })
    const own = listVms(state, all === true)
    // Asked for only where there may be any.
    const vms = process.geteuid?.() === 0 ? own : [...own, ...(await theirs(all === true, output))]
    output.show(vms, text(vms))
    tellTroubles(vms, output)
    return failed ?? unknownAmong(vms)
  },
})

// --- internal ---

async function theirs(all: boolean, output: Output): Promise<readonly VmStatus[]> {
  const { sudoVms } = await import("./sudoVms.ts")
  return await sudoVms(all, output)
}

/** Loaded only when it is wanted: a list should take no longer than it must. Returns what could not be finished, told already. */
async function reconcile(state: State, { log }: Output): Promise<Failure | undefined> {
  const { recoverAll } = await import("../../supervisor/recover.ts")
  const failed = (await recoverAll(state, log)).filter(({ is }) => is === "failed")
  const failures = failed.map(({ name, id, why, hint }) => {
    const message = `${name} (${id}) could not be finished: ${why}`
    log.error(hint === undefined ? message : `${message}\n${hint}`)
    return new Failure("NOT_RELEASED", message, { hint, subject: id })
  })
  return failures.length > 1 ? joinFailures(`${failures.length} VMs`, failures) : failures[0]
}

function unknownAmong(vms: readonly VmStatus[]): Failure | undefined {
  const [first, ...others] = vms.filter(({ liveness }) => liveness === "unknown")
  if (first === undefined) return undefined
  const more = others.length === 0 ? "" : `, and of ${others.length} more`
  return new Failure(
    "LIVENESS_UNKNOWN",
    `it cannot be told whether ${first.name} (${first.id}) runs${more}: ${first.why}`,
    {
      hint: first.hint,
      subject: first.id,
    },
  )
}

function tableOf(vms: readonly VmStatus[]): string {
  const rows = vms.map((vm) => [
    vm.name,
    vm.id,
    stateWords(vm),
    vm.vmm,
    vm.pid === undefined ? "-" : String(vm.pid),
    vm.address ?? "-",
    age(vm),
  ])
  return table(["NAME", "ID", "STATE", "VMM", "PID", "ADDRESS", "SINCE"], rows)
}

/** For programs: `banger stop $(banger ps -q)`. */
function idsOf(vms: readonly VmStatus[]): string {
  return vms.map(({ id }) => id).join("\n")
}

/** How long it has been running, or how long ago it ended, or was made. */
function age({ createdAtMs, runningAtMs, runningForMs, endedAtMs }: VmStatus): string {
  const since = (at: number) => formatDuration(Math.max(0, Date.now() - at))
  if (runningForMs !== null) return `up ${formatDuration(runningForMs)}`
  if (endedAtMs !== null) return `ended ${since(endedAtMs)} ago`
  return runningAtMs === null ? `made ${since(createdAtMs)} ago` : `up ${since(runningAtMs)}`
}

/** What a state alone does not tell, and the command that mends it. */
function tellTroubles(vms: readonly VmStatus[], { log }: Output): void {
  for (const { name, id, why, hint } of vms)
    if (why !== undefined) log.warn(`${name} (${id}): ${why}${hint === undefined ? "" : `: ${hint}`}`)
}

/** On a terminal the list takes the place of the one before; with --json each is a line. */
function watch(
  list: () => readonly VmStatus[],
  { text: textOf, output }: { readonly text: (vms: readonly VmStatus[]) => string; readonly output: Output },
): Promise<undefined> {
  const { manner, print, unread } = output
  const shown = manner.json
    ? (vms: readonly VmStatus[]) => jsonText(vms)
    : (vms: readonly VmStatus[]) => `${process.stdout.isTTY ? "\x1b[H\x1b[2J" : ""}${textOf(vms)}`
  let last: string | undefined
  return untilInterrupted(unread(), (enough) => {
    const look = () => {
      const text = shown(list())
      if (text === last) return
      last = text
      if (!print(text)) enough()
    }
    setInterval(look, REDRAW_MS)
    look()
  })
}
