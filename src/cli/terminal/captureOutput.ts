import { fstatSync, readSync } from "node:fs"
import { O } from "../../base/linux/constants.ts"
import { punchHole } from "../../base/linux/content.ts"
import { openAt, openMemory, replaceDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { lineCutter } from "../../base/terms/lines.ts"

/** What standard output and error were, and what was written to them since. */
export interface Captured {
  readonly stdout: number
  readonly stderr: number
  /** Hands over the lines that were written since, with `all` also a last one without an end. */
  drain(all?: boolean): void
}

const STDOUT = 1
const STDERR = 2

/** What is written is handed over this often, in milliseconds, besides when something is said. */
const DRAIN_MS = 100

/** So much that was handed over is kept at most, in bytes. */
const KEPT_MAX_BYTES = 1024 * 1024

/**
 * Makes a file in memory of standard output and error, and gives each line of it to `onLine`: what a plugin writes past
 * the console, and what the programs write that a hook starts. Not a pipe: a program that this process waits for would
 * wait for this process. To the end of this process: what is written late must not get past it. Undefined where the kernel
 * gives no such file.
 */
export function captureOutput(onLine: (line: string) => void): Captured | undefined {
  try {
    const memory = openMemory("banger-output")
    const [stdout, stderr] = [second(STDOUT), second(STDERR)]
    for (const fd of [STDOUT, STDERR]) replaceDescriptor(memory, fd, true)
    const drain = drainer(memory, onLine)
    setInterval(() => drain(), DRAIN_MS).unref()
    return { stdout, stderr, drain }
  } catch {
    return undefined
  }
}

// --- internal ---

const CHUNK = new Uint8Array(64 * 1024)

/** Another descriptor of the same, which children do not get. */
function second(fd: number): number {
  const kept = openAt(AT_FDCWD, "/dev/null", O.WRONLY)
  replaceDescriptor(fd, kept)
  return kept
}

function drainer(memory: number, onLine: (line: string) => void): Captured["drain"] {
  const cutter = lineCutter()
  let [at, freed] = [0, 0]
  return (all = false) => {
    // `> /dev/stderr` in a shell empties a file.
    if (fstatSync(memory).size < at) [at, freed] = [0, 0]
    for (let read = -1; read !== 0; at += read) {
      read = readSync(memory, CHUNK, 0, CHUNK.length, at)
      cutter.cut(CHUNK.subarray(0, read)).forEach(onLine)
    }
    const rest = all ? cutter.takeRest() : ""
    if (rest !== "") onLine(rest)
    if (at - freed <= KEPT_MAX_BYTES) return
    punchHole(memory, freed, at - freed)
    freed = at
  }
}
