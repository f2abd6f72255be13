import { closeSync, mkdirSync } from "node:fs"
import { join } from "node:path"
import * as v from "valibot"
import { LOCK, O, O_DIRECTORY, O_NOFOLLOW } from "../base/linux/constants.ts"
import { ownEnvironment } from "../base/linux/environment.ts"
import { ignoring } from "../base/linux/errors.ts"
import { close, flock, openAt, replaceDescriptor, unlinkAt, withDescriptor } from "../base/linux/files.ts"
import { AT_FDCWD } from "../base/linux/guards.ts"
import { writeFor } from "../base/linux/writer.ts"
import { EXIT } from "../base/terms/failure.ts"
import { forwardSignals } from "../host/process/forwardSignals.ts"
import { selfArgv } from "../host/process/self.ts"
import { followLines } from "../store/logs/lines.ts"
import { openState } from "../store/state/open.ts"

/** A VM that is running: what `banger run --detach --json` prints, and the detached banger reports. */
export const detachedVmSchema = v.strictObject({
  id: v.string(),
  name: v.string(),
  vmm: v.string(),
  pid: v.optional(v.number()),
  /** The directory with the VM's logs. */
  dir: v.string(),
})
export type DetachedVm = v.InferOutput<typeof detachedVmSchema>

const STDOUT = 1
const STDERR = 2

/**
 * Starts a banger in a session of its own, which outlives this one, and waits until its VM is running. `say` gets its
 * messages until then, line by line. It inherits none of the caller's descriptors, so that nobody who reads this process's
 * output waits for it. Returns the exit status of a banger that ended before.
 */
export async function detach(
  command: "__run" | "__supervise",
  words: readonly string[],
  say: (line: string) => void,
): Promise<DetachedVm | number> {
  const begun = beginDetached(command, words, say)
  using _forwarding = forwardSignals(begun.kill)
  try {
    return await begun.outcome
  } finally {
    begun.stopListening()
    removeLog(begun.log)
  }
}

/**
 * As `detach` a run, which no signal to this process ends: once `leave` is aborted, returns "left" at once, and what is starting goes
 * on by itself.
 */
export async function detachRun(
  words: readonly string[],
  say: (line: string) => void,
  leave: AbortSignal,
): Promise<DetachedVm | number | "left"> {
  const begun = beginDetached("__run", words, say)
  const left = new Promise<"left">((resolve) => {
    leave.addEventListener("abort", () => resolve("left"), { once: true })
    if (leave.aborted) resolve("left")
  })
  try {
    const outcome = await Promise.race([begun.outcome, left])
    // Where it goes on, it still has to make its log its VM's.
    if (outcome === "left") begun.outcome.catch(() => {})
    else removeLog(begun.log)
    return outcome
  } finally {
    begun.stopListening()
  }
}

/**
 * For the detached banger, before any code of a plugin runs: keeps the standard output for one report, and lets everything
 * else that is printed go to standard error. So what a hook's processes print is not taken for the report, and a process
 * that stays does not hold up who waits for it. Returns what reports that the VM is running, and closes the output.
 */
export function takeReporter(): (vm: DetachedVm) => void {
  const fd = openAt(AT_FDCWD, "/dev/null", O.WRONLY)
  replaceDescriptor(STDOUT, fd)
  replaceDescriptor(STDERR, STDOUT, true)
  return (vm) => {
    try {
      writeFor(fd, new TextEncoder().encode(`${JSON.stringify(vm)}\n`), { patienceMs: REPORT_WAIT_MS })
    } catch {
      // Whoever waited has gone; the VM is running all the same.
    }
    close(fd)
  }
}

/** Whether a file beside the VMs' directories is the log of a banger that was detached, which has no record of its VM yet. */
export function isDetachedLog(name: string): boolean {
  return name.startsWith(DETACHED)
}

/** Removes the log of a banger that was detached, unless it has become its VM's. */
export function removeLog(path: string): void {
  // ENOENT: it has become the VM's.
  ignoring(["ENOENT"], () =>
    withDescriptor(openAt(AT_FDCWD, join(path, ".."), O.PATH | O_DIRECTORY), (dir) =>
      unlinkAt(dir, path.slice(path.lastIndexOf("/") + 1)),
    ),
  )
}

// --- internal ---

const DETACHED = ".detached-"

const REPORT_WAIT_MS = 2000

/** A banger that starts in a session of its own. */
interface Detached {
  /** The path of its log, which moves into its VM's directory. */
  readonly log: string
  readonly outcome: Promise<DetachedVm | number>
  kill(name: NodeJS.Signals): void
  stopListening(): void
}

function beginDetached(
  command: "__run" | "__supervise",
  words: readonly string[],
  say: (line: string) => void,
): Detached {
  const log = newLog()
  const child = Bun.spawn([...selfArgv(), command, "--log", log.path, ...words], {
    argv0: "banger",
    stdio: ["ignore", "pipe", log.fd],
    detached: true,
    env: ownEnvironment(),
  })
  closeSync(log.fd)
  const lines = followLines(log.path)
  const stopWatching = lines.watch(() => lines.take().forEach(say))
  const outcome = async () => {
    const booted = await firstLine(child.stdout)
    if (booted === undefined) {
      await child.exited
      return child.exitCode ?? EXIT.failed
    }
    child.unref()
    return v.parse(v.pipe(v.string(), v.parseJson(), detachedVmSchema), booted)
  }
  return {
    log: log.path,
    outcome: outcome(),
    kill: (name) => child.kill(name),
    stopListening() {
      stopWatching()
      lines.take().forEach(say)
      lines.close()
    },
  }
}

/** A file beside the VMs' directories, which moves into its VM's directory once there is one. */
function newLog(): { path: string; fd: number } {
  // The banger that is started refuses a state that it does not know.
  const state = openState({ newer: "used" })
  state.db.close()
  const vms = join(state.where.state, "vms")
  mkdirSync(vms, { recursive: true, mode: 0o700 })
  const path = join(vms, `${DETACHED}${crypto.randomUUID()}.log`)
  const fd = openAt(AT_FDCWD, path, O.WRONLY | O.CREAT | O.EXCL | O.APPEND | O_NOFOLLOW, 0o600)
  // Locked as long as one of the two bangers has it open: a sweep removes such files when nobody has locked them.
  flock(fd, LOCK.EX | LOCK.NB)
  return { path, fd }
}

/** The first line of a stream; undefined when the stream ends without one. */
async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string | undefined> {
  const decoder = new TextDecoder()
  let text = ""
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true })
    const end = text.indexOf("\n")
    if (end !== -1) return text.slice(0, end)
  }
  return undefined
}
