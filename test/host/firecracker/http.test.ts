import { expect, test } from "bun:test"
import { join } from "node:path"
import { exchange, type HttpAnswer, packRequest, takeAnswer } from "../../../src/host/firecracker/http.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const take = (text: string, { limit = 1000, ended = false } = {}) => takeAnswer(Buffer.from(text), { limit, ended })
const read = (...args: Parameters<typeof take>) => take(...args)?.answer

test("an answer is read once it is whole, however it is cut", () => {
  const text = "HTTP/1.1 200 \r\nServer: Firecracker API\r\nContent-Length: 4\r\n\r\n{ü}"
  const bytes = Buffer.from(text)
  for (let cut = 0; cut < bytes.length; cut++)
    expect(takeAnswer(bytes.subarray(0, cut), { limit: 1000, ended: false })).toBeUndefined()
  expect(read(text)).toEqual({ status: 200, text: "{ü}" })
  // What follows is no part of it.
  expect(take(`${text}HTTP/1.1 400`)).toEqual({ answer: { status: 200, text: "{ü}" }, length: bytes.length })
})

test.each([
  ["HTTP/1.1 204 \r\nServer: x\r\n\r\n", { status: 204, text: "" }],
  ["HTTP/1.0 204\r\n\r\n", { status: 204, text: "" }],
  ["HTTP/1.1 400 Bad\r\ncontent-LENGTH:\t2 \r\n\r\nno", { status: 400, text: "no" }],
  ["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", { status: 200, text: "" }],
  // Without a length the end of the connection ends it.
  ["HTTP/1.1 200 OK\r\n\r\nall", undefined],
])("%j", (text, answer) => {
  expect(read(text)).toEqual(answer)
})

test("without a length an answer ends with its connection, and a long one is cut off", () => {
  expect(read("HTTP/1.1 200 OK\r\n\r\nall", { ended: true })).toEqual({ status: 200, text: "all" })
  expect(read("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12345", { limit: 4 })).toEqual({
    status: 200,
    text: "1234…",
  })
})

test.each([
  ["220 mail.example ESMTP\r\n\r\n", "not HTTP"],
  ["HTTP/2 200\r\n\r\n", "not HTTP"],
  ["HTTP/1.1 99 x\r\n\r\n", "not HTTP"],
  ["\r\n\r\n", "not HTTP"],
  ["x".repeat(20_000), "not HTTP"],
  [`HTTP/1.1 200 OK\r\n${"a: b\r\n".repeat(5000)}\r\n`, "not HTTP"],
  // Answers without end that announce another.
  ["HTTP/1.1 100 Continue\r\n\r\n".repeat(1000), "not HTTP"],
  ["HTTP/1.1 100\r\n\r\n".repeat(2000), "not HTTP"],
  [`HTTP/1.1 100 Continue\r\na: ${"b".repeat(9000)}\r\n\r\n`.repeat(2), "not HTTP"],
  ["HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no number"],
  ["HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n", "no number"],
  ["HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "no number"],
  ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "transfer encoding chunked"],
])("what is no answer is an error (%#)", (text, words) => {
  expect(() => read(text)).toThrow(words)
})

test("junk is an answer, no answer yet, or an error, and never anything else", () => {
  const parts = [
    "HTTP/1.1 200 OK",
    "\r\n",
    "\r\n\r\n",
    "Content-Length: 3",
    ":",
    "\0",
    "ü",
    "100",
    "HTTP/1.1 ",
    "x".repeat(900),
  ]
  for (let seed = 1; seed < 20_000; seed++) {
    let [state, text] = [seed, ""]
    for (let count = 0; count < 8; count++) {
      state = (state * 48271) % 2147483647
      text += parts[state % parts.length]
    }
    let answer: ReturnType<typeof read>
    try {
      answer = read(text, { limit: 500, ended: seed % 2 === 0 })
    } catch (error) {
      expect(error).toBeInstanceOf(Error)
      continue
    }
    expect(answer === undefined || (answer.status >= 200 && answer.text.length <= 501)).toBe(true)
  }
})

test("a request says whom it asks, and how long its body is in bytes", () => {
  expect(Buffer.from(packRequest({ method: "GET", path: "/", body: undefined })).toString()).toBe(
    "GET / HTTP/1.1\r\nHost: firecracker\r\nAccept: application/json\r\n\r\n",
  )
  expect(Buffer.from(packRequest({ method: "PUT", path: "/a", body: '"ü"' })).toString()).toEndWith(
    'Content-Type: application/json\r\nContent-Length: 4\r\n\r\n"ü"',
  )
})

/** A server that does this with each connection. */
function serving(unix: string, on: (socket: Bun.Socket<undefined>, text: string) => void) {
  return Bun.listen({ unix, socket: { data: (socket, chunk) => on(socket, chunk.toString()) } })
}

const ask = async (unix: string, signal = AbortSignal.timeout(5000), body?: string) =>
  (await askAll(unix, [{ method: "PUT", path: "/x", body }], signal))[0]

async function askAll(unix: string, requests: Parameters<typeof exchange>[1], signal = AbortSignal.timeout(5000)) {
  const answers: HttpAnswer[] = []
  await exchange(unix, requests, { signal, limit: 100_000, onAnswer: (answer) => answers.push(answer) })
  return answers
}

test("many requests go at once; their answers come in order, however they are cut", async () => {
  const unix = join(directory.path, "socket")
  const bytes = Array.from(
    { length: 4 },
    (_, at) =>
      `HTTP/1.1 ${at === 1 ? "204 " : `200 \r\nContent-Length: ${at}`}\r\n\r\n${at === 1 ? "" : "x".repeat(at)}`,
  ).join("")
  let received = ""
  let size = 1
  using _ = serving(unix, async (socket, text) => {
    received += text
    if (!received.endsWith("PUT /3 HTTP/1.1\r\nHost: firecracker\r\nAccept: application/json\r\n\r\n")) return
    for (let at = 0; at < bytes.length; at += size) {
      socket.write(bytes.slice(at, at + size))
      await Bun.sleep(0)
    }
  })
  const requests = [0, 1, 2, 3].map((at) => ({ method: "PUT", path: `/${at}`, body: undefined }))
  for (size of [1, 7, 40, 1000]) {
    received = ""
    const answers = await askAll(unix, requests)
    expect(answers.map(({ status, text }) => `${status}${text}`)).toEqual(["200", "204", "200xx", "200xxx"])
  }
})

test("an answer that is not wanted ends the exchange; so does a connection that ends between two", async () => {
  const unix = join(directory.path, "socket")
  using _ = serving(unix, (socket) => void socket.end("HTTP/1.1 204 \r\n\r\n".repeat(2)))
  const requests = [0, 1, 2].map((at) => ({ method: "PUT", path: `/${at}`, body: undefined }))
  await expect(askAll(unix, requests)).rejects.toThrow("closed before the answer was whole")
  let count = 0
  const onAnswer = () => {
    count++
    throw new Error("not so")
  }
  const options = { signal: AbortSignal.timeout(5000), limit: 1000, onAnswer }
  await expect(exchange(unix, requests, options)).rejects.toThrow("not so")
  expect(count).toBe(1)
})

test("over a socket: an answer in pieces, one that is cut, none at all, nobody there", async () => {
  const unix = join(directory.path, "socket")
  await expect(ask(unix)).rejects.toMatchObject({ code: "ENOENT" })
  let way = (socket: Bun.Socket<undefined>) => {
    socket.write("HTTP/1.1 200 OK\r\nContent-")
    setTimeout(() => socket.write("Length: 2\r\n\r\nok"), 5)
  }
  using server = serving(unix, (socket) => way(socket))
  expect(await ask(unix)).toEqual({ status: 200, text: "ok" })
  way = (socket) => void socket.end("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf")
  await expect(ask(unix)).rejects.toThrow("closed before the answer was whole")
  way = (socket) => void socket.end("hello\r\n\r\n")
  await expect(ask(unix)).rejects.toThrow("not HTTP")
  way = () => {}
  await expect(ask(unix, AbortSignal.timeout(20))).rejects.toMatchObject({ name: "TimeoutError" })
  await expect(ask(unix, AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough")
  server.stop(true)
})

test("a request that failed because nobody listens fails no second time, when its time is over", async () => {
  const faults: unknown[] = []
  const onFault = (fault: unknown) => faults.push(fault)
  process.on("unhandledRejection", onFault)
  using _ = { [Symbol.dispose]: () => process.off("unhandledRejection", onFault) }
  const late = new AbortController()
  await expect(ask(join(directory.path, "absent"), late.signal)).rejects.toMatchObject({ code: "ENOENT" })
  late.abort(new Error("too late"))
  await Bun.sleep(10)
  expect(faults).toEqual([])
})

test("a request larger than the socket takes at once is sent to its end", async () => {
  const unix = join(directory.path, "socket")
  let received = ""
  using _ = serving(unix, (socket, text) => {
    received += text
    if (received.endsWith("end")) socket.write("HTTP/1.1 204 \r\n\r\n")
  })
  const body = `${"x".repeat(3_000_000)}end`
  expect(await ask(unix, undefined, body)).toEqual({ status: 204, text: "" })
  expect(received).toEndWith(body)
})
