import { EXIT } from "../../base/terms/failure.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import { openState, openStateToLook, type State } from "../../store/state/open.ts"
import { listVms, stateWords, type VmStatus } from "../../vm/status.ts"
import { command } from "../terminal/command.ts"
import type { Output } from "../terminal/output.ts"
import { table } from "../terminal/table.ts"
import { untilInterrupted } from "../terminal/untilInterrupted.ts"

/** `--watch` looks this often, in milliseconds. */
const REDRAW_MS = 1000

export default command({
  meta: { name: "ps", description: "List VMs, with what is proven of each now" },
  args: {
    all: { type: "boolean", alias: "a", description: "Also those that have ended" },
    json: { type: "boolean", description: "Print them as JSON" },
    watch: { type: "boolean", alias: "w", description: "Print the list again when it changes, until interrupted" },
    reconcile: { type: "boolean", description: "First finish VMs that are dead and whose banger is gone" },
  },
  async run({ all, json, watch: again, reconcile: first }, { output }) {
    const state = first === true ? openState() : openStateToLook(output.log.warn)
    const show = () => render(listVms(state, all === true), json === true)
    try {
      const finished = first !== true || (await reconcile(state, output))
      if (again !== true) {
        const vms = listVms(state, all === true)
        print(render(vms, json === true), output)
        tellTroubles(vms, output)
        return finished && !vms.some(({ liveness }) => liveness === "unknown") ? EXIT.ok : EXIT.failed
      }
      return await watch(show, output)
    } finally {
      state.db.close()
    }
  },
})

// --- internal ---

/** Loaded only when it is wanted: a list should take no longer than it must. Tells whether all could be finished. */
async function reconcile(state: State, { log }: Output): Promise<boolean> {
  const { recoverAll } = await import("../../supervisor/recover.ts")
  const failed = (await recoverAll(state, log)).filter(({ is }) => is === "failed")
  for (const { name, id, why, hint } of failed)
    log.error(`${name} (${id}) could not be finished: ${why}${hint === undefined ? "" : `\n${hint}`}`)
  return failed.length === 0
}

function render(vms: readonly VmStatus[], json: boolean): string {
  if (json) return JSON.stringify(vms, null, 2)
  const rows = vms.map((vm) => [
    vm.name,
    vm.id,
    stateWords(vm),
    vm.vmm,
    vm.pid === undefined ? "-" : String(vm.pid),
    age(vm),
  ])
  return table(["NAME", "ID", "STATE", "VMM", "PID", "FOR"], rows)
}

/** How long it has been running, or ended. */
function age({ createdAt, runningAt, endedAt }: VmStatus): string {
  return formatDuration(Math.max(0, Date.now() - (endedAt ?? runningAt ?? createdAt)))
}

function print(text: string, output: Output): void {
  if (text !== "") output.print(text)
}

/** What a state alone does not tell, and the command that mends it. */
function tellTroubles(vms: readonly VmStatus[], { log }: Output): void {
  for (const { name, id, why, hint } of vms)
    if (why !== undefined) log.warn(`${name} (${id}): ${why}${hint === undefined ? "" : `: ${hint}`}`)
}

/** On a terminal the list takes the place of the one before. */
function watch(show: () => string, output: Output): Promise<number> {
  let last: string | undefined
  return untilInterrupted((enough) => {
    const look = () => {
      const text = show()
      if (text === last) return
      last = text
      if (!output.print(process.stdout.isTTY ? `\x1b[H\x1b[2J${text}` : text)) enough()
    }
    setInterval(look, REDRAW_MS)
    look()
  })
}
