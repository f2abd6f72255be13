import type { Exit } from "banger"
import type { Failure } from "../base/terms/failure.ts"
import { findPanic } from "../host/vmm/panic.ts"
import type { Vmm } from "../host/vmm/vmm.ts"
import { tailOf } from "../store/logs/growing.ts"
import type { VmLayout } from "../store/state/places.ts"
import type { Machine } from "./machine.ts"

/** How far back in the console a panic is looked for, in bytes. */
const CONSOLE_TAIL_BYTES = 8 * 1024

/** How a VM ended whose VMM has gone. */
export async function describeExit(
  machine: Machine,
  { vmm, layout, requested }: Circumstances & { readonly vmm: Vmm },
): Promise<Exit> {
  const { code, signal } = await machine.child.exited
  const why = vmm.reason({ code, signal, announced: machine.control.announced() })
  return why === "lost" ? lost(layout, requested) : exitOf(why, { code, signal }, { layout, requested })
}

/** How a VM ended while nobody watched: what its console ends with tells, if anything does. */
export function lost(layout: VmLayout, requested: boolean): Exit {
  const why = endOf(tailOf(layout.consoleLog, CONSOLE_TAIL_BYTES))
  return exitOf(why, { code: null, signal: null }, { layout, requested })
}

/** How the last words on a console say that a guest ended. Pure. */
export function endOf(consoleTail: string): Exit["reason"] {
  if (findPanic(consoleTail)?.last) return "guest panicked"
  const words = /^\[ *\d+\.\d+\] reboot: (Restarting system|machine restart|Power down)/
  const last = consoleTail
    .trimEnd()
    .split(/\r?\n/)
    .slice(-2)
    .map((line) => words.exec(line)?.[1])
  const said = last.find((word) => word !== undefined)
  if (said === undefined) return "lost"
  return said === "Power down" ? "guest powered off" : "guest reset"
}

/**
 * The kernel's words of a panic. What a guest without a pvpanic driver has only on its console is believed when its
 * console ends with it, and it did not go on to power itself off. Pure.
 */
export function panicOf(why: Exit["reason"], consoleTail: string): string | undefined {
  const panic = findPanic(consoleTail)
  if (why === "guest panicked") return panic?.words
  return panic?.last && why !== "guest powered off" ? panic.words : undefined
}

/** The exit of a VM whose VMM never ran. */
export function neverStarted(detail: string): Exit {
  return { reason: "failed to start", requested: false, code: null, signal: null, panic: undefined, detail }
}

interface Circumstances {
  readonly layout: VmLayout
  /** Whether somebody asked for the end. */
  readonly requested: boolean
}

function exitOf(
  why: Exit["reason"],
  status: Pick<Exit, "code" | "signal">,
  { layout, requested }: Circumstances,
): Exit {
  return {
    reason: why,
    requested,
    ...status,
    panic: panicOf(why, tailOf(layout.consoleLog, CONSOLE_TAIL_BYTES)),
    detail: tailOf(layout.vmmLog, 2000).trim() || undefined,
  }
}

/** Whether a VM ended as a VM should: by its guest, or because we asked. */
export function endedWell(exit: Exit): boolean {
  // A guest without a pvpanic driver says it only on its console, and then resets.
  if (exit.reason === "guest panicked" || exit.panic !== undefined) return false
  return exit.reason === "guest reset" || exit.reason === "guest powered off" || exit.requested
}

/** One line about how a VM ended. */
export function exitText(exit: Exit): string {
  const by =
    exit.code !== null && exit.code !== 0
      ? ` (exit code ${exit.code})`
      : exit.signal === null
        ? ""
        : ` (${exit.signal})`
  const panic = exit.panic === undefined ? "" : `: kernel panic: ${exit.panic}`
  const words = exit.reason === "crashed" && exit.detail !== undefined ? `: ${exit.detail}` : ""
  return `${exit.reason}${by}${exit.requested ? ", as asked" : ""}${panic}${words}`
}

/** What is known of a run at its end. */
export interface Ended {
  readonly id: string
  readonly name: string
  readonly exit: Exit
  readonly failure: Failure | undefined
  readonly kept: boolean
  /** The directory with the VM's logs. */
  readonly dir: string
}

/** What `banger run --json` prints. */
export function resultJson({ id, name, exit, failure, kept, dir }: Ended): string {
  const state = failure === undefined ? "stopped" : "failed"
  const error = failure === undefined ? undefined : { message: failure.message, hint: failure.hint }
  return JSON.stringify({ id, name, state, exit, kept, dir, error }, null, 2)
}
