import { closeSync, openSync, writeSync } from "node:fs"
import { O } from "../base/linux/constants.ts"
import { errorCode } from "../base/linux/errors.ts"
import { inForeground } from "../base/linux/terminal.ts"
import { Failure, usageError } from "../base/terms/failure.ts"
import type { Log } from "../base/terms/log.ts"
import { followConsole } from "../store/logs/consoleView.ts"
import type { Sink } from "../store/logs/growing.ts"
import type { State } from "../store/state/open.ts"
import { vmLayout } from "../store/state/places.ts"
import { findRecord, getRecord, isUnfinished } from "../store/state/records.ts"
import { isFinal } from "../store/state/vmState.ts"
import { awaitChange } from "../vm/awaitChange.ts"
import { refuseIfSelfWait } from "../vm/selfWait.ts"
import { statusOf } from "../vm/status.ts"
import { detach } from "./detach.ts"

const STDIN = 0

/** So much of what was said before is shown, in bytes. */
const TAIL_BYTES = 2048

/** Where the guest has not read its keys, or nobody its words, they are offered again after this many milliseconds. */
const SLOW_READER_WAIT_MS = 20

/** A reader has this long, in milliseconds, to take the rest of the console of a VM that has ended. */
const LAST_WORDS_MS = 2000

/** Keys typed before the detach key have this long, in milliseconds, to reach the guest. */
const LAST_KEYS_MS = 200

/** How attaching ended. */
export type Attached = "detached" | "ended"

/**
 * Connects standard input and `show` to a VM's serial console until the detach key is typed, `stop` is aborted, or the VM
 * has ended. From a terminal every other key goes to the guest, Ctrl-C too. A VM without a supervisor gets one.
 */
export async function attachVm(
  state: State,
  reference: string,
  detachKey: number,
  show: Sink,
  log: Log,
  stop: AbortSignal,
): Promise<Attached> {
  const record = findRecord(state.db, reference)
  if (isFinal(record.state))
    throw usageError(`${record.name} has ended`, `to see what it said: banger logs ${record.id}`)
  const layout = vmLayout(state.where, record.id)
  refuseIfSelfWait(layout, record)
  await ensureSupervisor(state, record.id, log)
  const over = new AbortController()
  const either = AbortSignal.any([stop, over.signal])
  const console = followConsole(layout.consoleLog, TAIL_BYTES, show)
  const disconnect = connectInput(layout.consoleInput, detachKey, () => over.abort())
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
  throw usageError(`${text} is no key with Ctrl`, "give one like ctrl-] or ctrl-p")
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
    throw new Failure("FAILED", `${id} got no supervisor: not attached`)
}

function connectInput(fifo: string, detachKey: number, onDetach: () => void): () => void {
  const { stdin } = process
  const terminal = stdin.isTTY && inForeground(STDIN)
  const fd = openSync(fifo, O.RDWR | O.NONBLOCK)
  const over = new AbortController()
  let sent = Promise.resolve()
  const onKeys = (keys: Uint8Array) => {
    const at = terminal ? keys.indexOf(detachKey) : -1
    const typed = at === -1 ? keys : keys.subarray(0, at)
    sent = sent.then(() => send(fd, typed, over.signal))
    // What a person types is little, and the detach key must be heard although the guest reads nothing.
    if (at !== -1) Promise.race([sent, Bun.sleep(LAST_KEYS_MS)]).then(onDetach)
    if (terminal) return
    stdin.pause()
    sent.then(() => over.signal.aborted || stdin.resume())
  }
  if (terminal) stdin.setRawMode(true)
  stdin.on("data", onKeys)
  stdin.on("error", () => {})
  stdin.resume()
  return () => {
    over.abort()
    stdin.off("data", onKeys)
    stdin.pause()
    closeSync(fd)
    try {
      if (terminal && inForeground(STDIN)) stdin.setRawMode(false)
    } catch {
      // Nobody can be left with a terminal in raw mode that is not there.
    }
  }
}

/** Never rejects: when the VM has gone, its end is told elsewhere. The descriptor may be another's once it is over. */
async function send(fd: number, keys: Uint8Array, over: AbortSignal): Promise<void> {
  for (let rest = keys; rest.length > 0 && !over.aborted; ) {
    try {
      rest = rest.subarray(writeSync(fd, rest))
    } catch (error) {
      if (errorCode(error) !== "EAGAIN") return
      await Bun.sleep(SLOW_READER_WAIT_MS)
    }
  }
}
