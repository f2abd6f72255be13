import { closeSync, openSync, writeSync } from "node:fs"
import { isatty } from "node:tty"
import { O } from "../../base/linux/constants.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { connectKeyboard } from "./keyboard.ts"

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
 * Connects standard input to a guest's serial console: bytes go to its FIFO, or to what takes them there, as they come. A terminal is raw
 * while this process is in its foreground, and what is typed there goes through `onTyped` first. Returns what disconnects it and gives
 * the terminal back. With `terminalOnly`, other input is left alone. Other input that had any bytes calls `onEnd` at its end, once the
 * guest has them all.
 */
export function connectInput(
  to: string | ((keys: Uint8Array) => Promise<void>),
  options: {
    readonly onTyped: (keys: Uint8Array) => Typed
    readonly terminalOnly: boolean
    readonly onEnd?: () => void
  },
): () => void {
  const terminal = isatty(STDIN)
  if (!terminal && options.terminalOnly) return () => {}
  const over = new AbortController()
  const { send, close } = typeof to === "string" ? toFifo(to, over.signal) : { send: to, close() {} }
  let sent = Promise.resolve()
  const disconnect = (terminal ? connectTyped : connectStream)(options, {
    over: over.signal,
    send: (keys) => {
      sent = sent.then(() => send(keys))
      return sent
    },
  })
  return () => {
    over.abort()
    disconnect()
    close()
  }
}

// --- internal ---

type Options = Parameters<typeof connectInput>[1]

/** Where input goes: in order, and each of its promises is kept once the guest has the bytes. */
interface Target {
  readonly over: AbortSignal
  readonly send: (keys: Uint8Array) => Promise<void>
}

/** What a person types is little, and keys that mean something here must be heard although the guest reads nothing. */
function connectTyped({ onTyped }: Options, { send }: Target): () => void {
  return connectKeyboard((typed) => {
    const { keys, after } = onTyped(typed)
    const sent = send(keys)
    if (after !== undefined) Promise.race([sent, Bun.sleep(LAST_KEYS_MS)]).then(after)
  })
}

function connectStream({ onEnd }: Options, { send, over }: Target): () => void {
  const { stdin } = process
  let last: Promise<void> | undefined
  const onBytes = (bytes: Uint8Array) => {
    last = send(bytes)
    stdin.pause()
    last.then(() => over.aborted || stdin.resume())
  }
  const onLast = () => last?.then(() => over.aborted || onEnd?.())
  stdin.on("data", onBytes)
  stdin.on("end", onLast)
  if (!stdin.listeners("error").includes(ignore)) stdin.on("error", ignore)
  stdin.resume()
  return () => {
    stdin.off("data", onBytes)
    stdin.off("end", onLast)
    stdin.pause()
  }
}

/** What cannot be read is no input. */
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
