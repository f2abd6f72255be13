import { writeSync } from "node:fs"
import { createConsola } from "consola"
import { errorCode } from "../linux/errors.ts"
import { canWrite } from "../linux/poll.ts"
import type { Output } from "./command.ts"

const STDOUT = 1
const STDERR = 2

/** Data goes to standard output, every message to standard error. Both are written at once, in the order they come. */
export function createOutput(verbose: boolean, quiet: boolean): Output {
  const level = verbose ? 4 : quiet ? 1 : 3
  const stream = unbuffered(process.stderr)
  return {
    log: createConsola({ level, stdout: stream, stderr: stream, formatOptions: { date: false } }),
    printSome: (data) => writeSome(STDOUT, data),
    print: (data) => writeAll(STDOUT, typeof data === "string" ? Buffer.from(`${data}\n`) : data),
  }
}

// --- internal ---

/** The stream as it is, but for what it has not written when the process exits: there is never any. */
function unbuffered(stream: NodeJS.WriteStream): NodeJS.WriteStream {
  const write = (text: string) => {
    writeAll(STDERR, Buffer.from(text))
    return true
  }
  return Object.assign(Object.create(stream), { write })
}

/** At most this much goes into a pipe that poll(2) calls writable without waiting: PIPE_BUF of pipe(7). */
const PIPE_BUF = 4096

function writeSome(fd: number, bytes: Uint8Array): number {
  let at = 0
  while (at < bytes.length && canWrite(fd)) {
    const chunk = bytes.subarray(at, at + PIPE_BUF)
    writeAll(fd, chunk)
    at += chunk.length
  }
  return at
}

function writeAll(fd: number, bytes: Uint8Array): void {
  try {
    for (let at = 0; at < bytes.length; ) at += writeChunk(fd, bytes.subarray(at))
  } catch (error) {
    // Nobody reads any more (`banger logs | head`, a closed terminal): what is left has no place to go.
    if (errorCode(error) !== "EPIPE" && errorCode(error) !== "EIO") throw error
  }
}

function writeChunk(fd: number, bytes: Uint8Array): number {
  try {
    return writeSync(fd, bytes)
  } catch (error) {
    if (errorCode(error) !== "EAGAIN") throw error
    // A non-blocking pipe that is full: give its reader a moment.
    Bun.sleepSync(1)
    return 0
  }
}
