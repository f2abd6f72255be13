import { ANSWER_MAX_BYTES, takeAnswer } from "./message.ts"

/**
 * Makes one call of a manager by its private socket: SASL EXTERNAL, the call, its answer (the D-Bus specification, "Authentication
 * Protocol"). Resolves when it was answered well. Rejects with an Error, in `limitMs` at most, when nobody is there, when the answer
 * is an error, and when what is sent is no D-Bus or more than any answer.
 */
export async function callManager(
  socket: string,
  {
    call,
    serial,
    uid,
    limitMs,
  }: { readonly call: Uint8Array; readonly serial: number; readonly uid: number; readonly limitMs: number },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const late = setTimeout(() => reject(new Error(`no answer in ${limitMs} ms`)), limitMs)
  let got: Uint8Array = new Uint8Array(0)
  let agreed = false
  let all = 0
  const take = (send: (bytes: Uint8Array) => void) => {
    if (!agreed) {
      const end = got.indexOf(NEWLINE)
      if (end === -1) return got.length > LINE_MAX_BYTES ? reject(new Error("it does not speak D-Bus")) : undefined
      const line = new TextDecoder("latin1").decode(got.subarray(0, end)).trim()
      if (!line.startsWith("OK ")) return reject(new Error(`it refuses this user: ${line.slice(0, LINE_MAX_BYTES)}`))
      got = got.slice(end + 1)
      agreed = true
      send(Buffer.concat([Buffer.from("BEGIN\r\n"), call]))
    }
    for (let next = takeAnswer(got); next !== undefined; next = takeAnswer(got)) {
      got = got.slice(next.length)
      if (next.answer.to !== serial) continue
      const { error } = next.answer
      return error === undefined ? resolve() : reject(new Error(`${error.name}: ${error.text}`, { cause: error.name }))
    }
  }
  const opened = Bun.connect({
    unix: socket,
    socket: {
      open: (peer) => void peer.write(`\0AUTH EXTERNAL ${Buffer.from(String(uid)).toString("hex")}\r\n`),
      data(peer, bytes) {
        all += bytes.length
        if (all > SENT_MAX_BYTES) return reject(new Error("it sends too much"))
        got = Buffer.concat([got, bytes])
        try {
          // Smaller than any socket's buffer.
          take((words) => void peer.write(words))
        } catch (error) {
          reject(error)
        }
      },
      close: () => reject(new Error("it hung up")),
      error: (_peer, error) => reject(error),
      connectError: (_peer, error) => reject(error),
    },
  })
  opened.catch(reject)
  try {
    await promise
  } finally {
    clearTimeout(late)
    opened.then(
      (peer) => peer.end(),
      () => {},
    )
  }
}

/** Whether `callManager` was rejected since the manager has answered with the error of this name. */
export function isRefusedAs(error: unknown, name: string): boolean {
  return error instanceof Error && error.cause === name
}

// --- internal ---

const NEWLINE = "\n".charCodeAt(0)

/** A line of the handshake is not as long, in bytes. */
const LINE_MAX_BYTES = 512

/** So much is heard at most, in bytes: signals come too. */
const SENT_MAX_BYTES = 16 * ANSWER_MAX_BYTES
