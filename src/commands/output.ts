import { writeSync } from "node:fs"
import { createConsola } from "consola"
import { errorCode } from "../linux/errors.ts"
import type { Output } from "./command.ts"

/** Data goes to standard output, every message to standard error. */
export function createOutput(verbose: boolean, quiet: boolean): Output {
  const level = verbose ? 4 : quiet ? 1 : 3
  const log = createConsola({ level, stdout: process.stderr, stderr: process.stderr, formatOptions: { date: false } })
  return {
    log,
    print: (data) => printAll(typeof data === "string" ? Buffer.from(`${data}\n`) : data),
  }
}

// --- internal ---

/** Writes at once: a message on standard error that comes later must not overtake it. */
function printAll(bytes: Uint8Array): void {
  try {
    for (let at = 0; at < bytes.length; ) at += writeChunk(bytes.subarray(at))
  } catch (error) {
    // Nobody reads any more (`banger logs | head`): what is left has no place to go.
    if (errorCode(error) !== "EPIPE" && errorCode(error) !== "EIO") throw error
  }
}

function writeChunk(bytes: Uint8Array): number {
  try {
    return writeSync(1, bytes)
  } catch (error) {
    if (errorCode(error) !== "EAGAIN") throw error
    // A non-blocking pipe that is full: give its reader a moment.
    Bun.sleepSync(1)
    return 0
  }
}
