import type { Exit } from "banger"
import * as v from "valibot"
import { type Failure, failureJson } from "../base/terms/failure.ts"
import { failureSchema } from "../base/terms/failureSchema.ts"
import { jsonText } from "../base/terms/message.ts"
import { findPanic } from "../host/vmm/panic.ts"
import type { Ending, Vmm } from "../host/vmm/vmm.ts"
import { tailOf } from "../store/logs/growing.ts"
import type { VmLayout } from "../store/state/places.ts"
import { exitSchema } from "../store/state/vmState.ts"
import type { Machine } from "./machine.ts"

/** How much of the console's end is searched for a panic, in bytes. */
const CONSOLE_TAIL_BYTES = 8 * 1024

/** How much of the VMM's last words goes into an exit, in bytes. */
const DETAIL_MAX_BYTES = 2000

/** What is known of a VM's end besides its VMM's exit. */
interface Circumstances {
  readonly layout: VmLayout
  /** Whether somebody asked for the end. */
  readonly requested: boolean
}

/** How a VM ended. Waits for its VMM's exit. */
export async function describeExit(
  machine: Machine,
  { vmm, layout, requested }: Circumstances & { readonly vmm: Vmm },
): Promise<Exit> {
  const status = await machine.child.exited
  return exitOfStatus({ ...status, announced: machine.control.announced() }, { vmm, layout, requested })
}

/**
 * As `describeExit`, by the status of a VMM that has exited. What its guest's console told of the end counts also where nobody was
 * there to hear it, or whoever was has ended since.
 */
export function exitOfStatus(
  { code, signal, announced }: Ending,
  { vmm, layout, requested }: Circumstances & { readonly vmm: Vmm },
): Exit {
  const why = vmm.reason({ code, signal, announced: announced ?? toldBy(vmm, layout) })
  return why === "lost" ? lost(layout, requested) : exitOf(why, { code, signal }, { layout, requested })
}

/** How a VM ended that nobody watched: by the end of its console, else "lost". */
export function lost(layout: VmLayout, requested: boolean): Exit {
  const why = endOf(tailOf(layout.consoleLog, CONSOLE_TAIL_BYTES))
  return exitOf(why, { code: null, signal: null }, { layout, requested })
}

/** How a guest ended, by the last lines of its console; "lost" when they do not tell. Pure. */
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
 * The kernel's words of a panic, if there was one. A guest without a pvpanic driver tells it on its console only: this is
 * believed when the console ends with it and the guest did not power itself off. Pure.
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

/** Whether a VM ended as it should: by its guest, or because somebody asked for it. */
export function endedWell(exit: Exit): boolean {
  // A guest without a pvpanic driver tells a panic on its console only, and then resets.
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
  const status = exit.guestStatus ? `, exit status ${exit.guestStatus}` : ""
  return `${exit.reason}${by}${exit.requested ? ", as asked" : ""}${panic}${words}${status}`
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
export const runResultSchema = v.strictObject({
  id: v.string(),
  name: v.string(),
  state: v.picklist(["stopped", "failed"]),
  exit: exitSchema,
  /** A failed start is left as it is, with `--keep-on-failure`. */
  keptForInspection: v.boolean(),
  /** The directory with the VM's logs. */
  dir: v.string(),
  /** Why the run failed. */
  error: v.optional(failureSchema),
})

/** A run's result as JSON. `error` is what the program ends with: an interrupted VM may have ended well. */
export function resultJson(
  { id, name, exit, failure, kept, dir }: Ended,
  error: Failure | undefined = failure,
): string {
  const state = failure === undefined ? "stopped" : "failed"
  const result: v.InferOutput<typeof runResultSchema> = {
    ...{ id, name, state, exit, keptForInspection: kept, dir },
    ...(error && failureJson(error)),
  }
  return jsonText(result, 2)
}

/**
 * The exit status of what the guest was to do, as banger's own guest tells it; undefined where none is told. The last one counts, of
 * the console's last lines. Pure.
 */
function statusOf(consoleTail: string): number | undefined {
  const [, digits] = [...consoleTail.matchAll(STATUS)].at(-1) ?? []
  return digits === undefined || Number(digits) > 255 ? undefined : Number(digits)
}

// --- internal ---

/**
 * A word for any guest, and what the guest of scripts/guest-image has always said: behind what its script wrote last, where that had no
 * newline.
 */
const STATUS = /^(?:banger: exit status|.*init: the script ended with exit code) (\d{1,3})\r?$/gm

function toldBy(vmm: Vmm, { consoleLog }: VmLayout): string | undefined {
  const listener = vmm.listenToConsole?.()
  listener?.onConsole(Buffer.from(tailOf(consoleLog, CONSOLE_TAIL_BYTES)))
  return listener?.announced()
}

function exitOf(
  why: Exit["reason"],
  status: Pick<Exit, "code" | "signal">,
  { layout, requested }: Circumstances,
): Exit {
  const tail = tailOf(layout.consoleLog, CONSOLE_TAIL_BYTES)
  // Who ends a guest ends what it was doing, which then has a status of that.
  const told = requested ? undefined : statusOf(tail)
  const panic = panicOf(why, tail)
  return {
    // A kernel that restarts after its panic looks like one that was told to.
    reason: panic === undefined || why === "lost" ? why : "guest panicked",
    requested,
    ...status,
    panic,
    ...(told === undefined ? {} : { guestStatus: told }),
    detail: tailOf(layout.vmmLog, DETAIL_MAX_BYTES).trim() || undefined,
  }
}
