import { statPath } from "../base/linux/files.ts"
import { Failure, usageError } from "../base/terms/failure.ts"
import type { Log } from "../base/terms/log.ts"
import { followConsole } from "../store/logs/consoleView.ts"
import type { Sink } from "../store/logs/growing.ts"
import type { State } from "../store/state/open.ts"
import { vmLayout } from "../store/state/places.ts"
import { findRecord, getRecord, isUnfinished } from "../store/state/records.ts"
import { isFinal } from "../store/state/vmState.ts"
import { awaitChange } from "../vm/awaitChange.ts"
import { orRemoved } from "../vm/controlSocket.ts"
import { refuseIfSelfWait } from "../vm/selfWait.ts"
import { statusOf } from "../vm/status.ts"
import { detach } from "./detach.ts"
import { connectInput } from "./keyboard/consoleInput.ts"

/** So much of what was said before is shown, in bytes. */
const TAIL_BYTES = 2048

/** What a slow reader has not taken is offered again after this many milliseconds. */
const SLOW_READER_WAIT_MS = 20

/** A reader has this long, in milliseconds, to take the rest of the console of a VM that has ended. */
const LAST_WORDS_MS = 2000

/** After the end of its input the guest has answered when it has said nothing for so long, in milliseconds. */
const ANSWERED_MS = 500

/** How attaching ended. */
export type Attached = "detached" | "ended"

/** How to attach. */
export interface AttachOptions {
  /** The byte of the key that leaves the console. */
  readonly detachKey: number
  readonly show: Sink
  readonly log: Log
  /** Detaches when aborted. */
  readonly stop: AbortSignal
}

/**
 * Connects standard input and `show` to a VM's serial console until the detach key is typed, `stop` is aborted, or the VM
 * has ended; where input that is no terminal had any bytes, also soon after its end, when the guest is silent. From a terminal every other key goes to the guest, Ctrl-C too. A VM without a supervisor gets one. Throws
 * WRONG_STATE when the VM has ended before.
 */
export async function attachVm(
  state: State,
  reference: string,
  { detachKey, show, log, stop }: AttachOptions,
): Promise<Attached> {
  const record = findRecord(state.db, reference)
  if (isFinal(record.state)) {
    const hint = `to see what it said: banger logs ${record.id}`
    throw new Failure("WRONG_STATE", `${record.name} has ended`, { hint, subject: record.id })
  }
  const layout = vmLayout(state.where, record.id)
  refuseIfSelfWait(layout, record)
  // One may have no console any more, and its end could be told only.
  orRemoved(record.id, layout.consoleInput, () => statPath(layout.consoleInput))
  await ensureSupervisor(state, record.id, log)
  const over = new AbortController()
  const either = AbortSignal.any([stop, over.signal])
  let saidAt = 0
  const console = followConsole(layout.consoleLog, TAIL_BYTES, (chunk, source) => {
    saidAt = performance.now()
    return show(chunk, source)
  })
  const onTyped = (keys: Uint8Array) => {
    const at = keys.indexOf(detachKey)
    return at === -1 ? { keys } : { keys: keys.subarray(0, at), after: () => over.abort() }
  }
  const disconnect = connectInput(layout.consoleInput, {
    ...{ onTyped, terminalOnly: false },
    async onEnd() {
      const endedAt = performance.now()
      while (performance.now() - Math.max(saidAt, endedAt) < ANSWERED_MS) await Bun.sleep(SLOW_READER_WAIT_MS)
      over.abort()
    },
  })
  try {
    while (!either.aborted && isUnfinished(state.db, record.id)) await awaitChange(layout, either)
    if (either.aborted) return "detached"
    const enough = performance.now() + LAST_WORDS_MS
    while (!console.drain() && !stop.aborted && performance.now() < enough) await Bun.sleep(SLOW_READER_WAIT_MS)
    return "ended"
  } finally {
    disconnect()
    console.close()
  }
}

/** The byte that a key makes with Ctrl: `ctrl-]` is 29. Throws a usage failure for anything else. */
export function controlKey(text: string): number {
  const [, key] = /^ctrl-([a-z@[\]\\^_])$/i.exec(text) ?? []
  if (key !== undefined) return key.toUpperCase().charCodeAt(0) & 0x1f
  throw usageError(`${text} is not a key with Ctrl`, { hint: "give one like ctrl-] or ctrl-p", subject: text })
}

// --- internal ---

async function ensureSupervisor(state: State, id: string, log: Log): Promise<void> {
  if (statusOf(state, getRecord(state.db, id)).supervisor !== undefined) return
  log.info(`${id} has no supervisor: starting one`)
  const vm = await detach("__supervise", [id], (line) => log.info(line))
  if (typeof vm !== "number") return
  // Another may have been quicker, or the VM have ended.
  const now = statusOf(state, getRecord(state.db, id))
  if (now.supervisor === undefined && !isFinal(now.state))
    throw new Failure("WRONG_STATE", `${id} got no supervisor: not attached`, {
      ...{ hint: `to try again, and see why: banger supervise ${id}`, subject: id },
    })
}
