// The API's wire, byte by byte: what Bun's own client would hide (header names, the reason, a second answer) is seen.
import { connect } from "node:net"

/** The longest wait for an answer, and the silence after which no more is expected of a raw request. */
const ANSWER_MS = 5000
const SILENCE_MS = 200
const UNHEARD_COUNT = 100

const USUAL = ["Server: Firecracker API", "Connection: keep-alive"]
const TYPED = "Content-Type: application/json"

/** Sends a request with a body, or none, and gives its answer in the table's words. */
export function ask(socket: string, request: string, body: string): Promise<string> {
  const head = `${request} HTTP/1.1\r\nHost: localhost\r\n`
  const length = body === "" ? "" : `Content-Length: ${Buffer.byteLength(body)}\r\n`
  return talk(socket, [Buffer.from(`${head}${length}\r\n${body}`)], { many: false })
}

/**
 * Sends bytes as they stand, part by part, and gives every answer that comes, up to the first that ends a connection, or that so
 * many milliseconds of silence follow.
 */
export function askRaw(socket: string, parts: readonly string[], silenceMs = SILENCE_MS): Promise<string> {
  return talk(
    socket,
    parts.map((part) => Buffer.from(part, "latin1")),
    { many: true, silenceMs },
  )
}

/** Whether something listens at a socket. */
export function listens(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const client = connect(socket)
    client.on("connect", () => resolve(true))
    client.on("error", () => resolve(false))
    client.on("close", () => resolve(false))
    client.on("connect", () => client.destroy())
  })
}

/** Opens connections until one is not taken; gives its number and what it is told. */
export async function crowd(socket: string, most: number): Promise<string> {
  const open: { end(): void }[] = []
  try {
    for (let count = 1; count <= most; count++) {
      const taken = await new Promise<boolean>((resolve) => {
        const close = () => resolve(false)
        Bun.connect({ unix: socket, socket: { data: close, close, error: close } }).then(
          (client) => open.push(client),
          close,
        )
        setTimeout(() => resolve(true), SILENCE_MS / 2)
      })
      if (!taken) return `${count}: ${await turnedAway(socket)}`
    }
    return `${most}: all taken`
  } finally {
    for (const client of open) client.end()
    // They have to be seen to have gone.
    await Bun.sleep(SILENCE_MS)
  }
}

// --- internal ---

// What one connection too many is told. A request that was not read before the end takes the words with it, so many are sent.
async function turnedAway(unix: string): Promise<string> {
  for (let tries = 0; tries < UNHEARD_COUNT; tries++) {
    const answer = await fetch("http://localhost/", { unix }).catch(() => undefined)
    if (answer !== undefined) return `${answer.status} ${await answer.text()}`
  }
  return "closed"
}

function talk(
  socket: string,
  parts: readonly Buffer[],
  { many, silenceMs = SILENCE_MS }: { many: boolean; silenceMs?: number },
): Promise<string> {
  return new Promise((resolve) => {
    let got = ""
    let timer: Timer | undefined
    const said: string[] = []
    const client = connect(socket)
    const finish = (end?: string) => {
      clearTimeout(timer)
      client.destroy()
      if (end !== undefined && (said.length === 0 || end === "closed")) said.push(end)
      resolve(said.join(" | "))
    }
    const wait = (ms: number) => {
      clearTimeout(timer)
      timer = setTimeout(() => finish("silence"), ms)
    }
    wait(ANSWER_MS)
    client.on("connect", async () => {
      for (const part of parts) {
        client.write(part)
        if (parts.length > 1) await Bun.sleep(20)
      }
      if (many) wait(silenceMs)
    })
    client.on("data", (bytes) => {
      got += bytes.toString("latin1")
      for (let told = tell(got); told.length > 0; told = tell(got)) {
        said.push(told.said)
        got = got.slice(told.length)
      }
      const over = said.some((answer) => answer.includes('{ "error": "'))
      if (over) said.splice(said.findIndex((answer) => answer.includes('{ "error": "')) + 1)
      if ((said.length > 0 && !many) || over) finish()
      else if (many) wait(silenceMs)
    })
    client.on("error", (error) => finish("code" in error && error.code === "ECONNREFUSED" ? "refused" : "broken"))
    client.on("close", () => finish("closed"))
  })
}

// The first whole answer in the bytes, in the table's words; of length 0 when there is none yet.
function tell(got: string): { said: string; length: number } {
  const end = got.indexOf("\r\n\r\n")
  if (end < 0) return { said: "", length: 0 }
  const [status = "", ...headers] = got.slice(0, end).split("\r\n")
  const size = Number(/^content-length: *(\d+)$/im.exec(got.slice(0, end))?.[1] ?? 0)
  if (got.length < end + 4 + size) return { said: "", length: 0 }
  const body = Buffer.from(got.slice(end + 4, end + 4 + size), "latin1").toString()
  const others = headers.filter(
    (header) => !USUAL.includes(header) && header !== TYPED && !/^Content-Length: /.test(header),
  )
  const missing = [...USUAL, ...(size > 0 ? [TYPED] : [])].filter((header) => !headers.includes(header))
  const odd = [...others, ...missing.map((header) => `no ${header}`)]
  const code = /^HTTP\/1\.1 (\d+) $/.exec(status)?.[1] ?? status
  return { said: [code, ...odd.map((header) => `[${header}]`), wordsOf(body)].join(" ").trim(), length: end + 4 + size }
}

function wordsOf(body: string): string {
  try {
    const value: unknown = JSON.parse(body)
    const fault = (value as { fault_message?: unknown }).fault_message
    if (typeof fault === "string" && JSON.stringify({ fault_message: fault }) === body) return fault
  } catch {
    return body
  }
  return body
}
