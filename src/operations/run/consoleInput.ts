import { closeSync, openSync, writeSync } from "node:fs"
import { O } from "../../base/linux/constants.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { inForeground } from "../../base/linux/terminal.ts"

const STDIN = 0

/** While the guest has not read its keys they are offered again after this many milliseconds. */
const SLOW_GUEST_WAIT_MS = 20

/** Keys that were typed have this long, in milliseconds, to reach the guest before `after` is called. */
const LAST_KEYS_MS = 200

/** What becomes of keys that were typed at a terminal. */
export interface Typed {
  /** These go to the guest. */
  readonly keys: Uint8Array
  /** Called soon after the guest has them, or cannot have them. */
  readonly after?: () => void
}

/**
 * Connects standard input to a guest's serial console: bytes go to its FIFO, or to what takes them there, as they come. A terminal becomes raw, and what
 * is typed there goes through `onTyped` first. Returns what disconnects it and gives the terminal back; a terminal that has
 * gone by then is no error. With `terminalOnly`, other input is left alone; so is the terminal of a
 * process in the background, which others read. Other input that had any bytes calls `onEnd` at its end, once the guest has
 * them all.
 */
export function connectInput(
  to: string | ((keys: Uint8Array) => Promise<void>),
  options: {
    readonly onTyped: (keys: Uint8Array) => Typed
    readonly terminalOnly: boolean
    readonly onEnd?: () => void
  },
): () => void {
  const { stdin } = process
  const terminal = stdin.isTTY && inForeground(STDIN)
  if (!terminal && options.terminalOnly) return () => {}
  const over = new AbortController()
  const { send, close } = typeof to === "string" ? toFifo(to, over.signal) : { send: to, close() {} }
  let sent = Promise.resolve()
  let hadBytes = false
  const onKeys = (bytes: Uint8Array) => {
    hadBytes = true
    const { keys, after }: Typed = terminal ? options.onTyped(bytes) : { keys: bytes }
    sent = sent.then(() => send(keys))
    if (after !== undefined) Promise.race([sent, Bun.sleep(LAST_KEYS_MS)]).then(after)
    // What a person types is little, and keys that mean something here must be heard although the guest reads nothing.
    if (terminal) return
    stdin.pause()
    sent.then(() => over.signal.aborted || stdin.resume())
  }
  if (terminal) stdin.setRawMode(true)
  const onEnd = () => {
    if (hadBytes && !terminal) sent.then(() => over.signal.aborted || options.onEnd?.())
  }
  stdin.on("data", onKeys)
  stdin.on("end", onEnd)
  if (!stdin.listeners("error").includes(ignore)) stdin.on("error", ignore)
  stdin.resume()
  return () => {
    over.abort()
    stdin.off("data", onKeys)
    stdin.off("end", onEnd)
    stdin.pause()
    close()
    try {
      if (terminal && inForeground(STDIN)) stdin.setRawMode(false)
    } catch {
      // Nobody can be left with a terminal in raw mode that is not there.
    }
  }
}

// --- internal ---

/** A terminal that went away says so to whoever reads it; the VM needs none. */
const ignore = () => {}

function toFifo(fifo: string, over: AbortSignal) {
  const fd = openSync(fifo, O.RDWR | O.NONBLOCK)
  return { send: (keys: Uint8Array) => sendTo(fd, keys, over), close: () => closeSync(fd) }
}

/** Never rejects: the end of the VM is told elsewhere. Writes nothing once `over` is aborted: then `fd` may be another's. */
async function sendTo(fd: number, keys: Uint8Array, over: AbortSignal): Promise<void> {
  for (let rest = keys; rest.length > 0 && !over.aborted; ) {
    try {
      rest = rest.subarray(writeSync(fd, rest))
    } catch (error) {
      if (errorCode(error) !== "EAGAIN") return
      await Bun.sleep(SLOW_GUEST_WAIT_MS)
    }
  }
}
