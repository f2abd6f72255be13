import { closeSync, mkdirSync } from "node:fs"
import { join } from "node:path"
import * as v from "valibot"
import { LOCK, O, O_DIRECTORY, O_NOFOLLOW } from "../base/linux/constants.ts"
import { ignoring } from "../base/linux/errors.ts"
import { close, flock, openAt, replaceDescriptor, unlinkAt, withDescriptor } from "../base/linux/files.ts"
import { AT_FDCWD } from "../base/linux/guards.ts"
import { writeFor, writerTo } from "../base/linux/writer.ts"
import { EXIT } from "../base/terms/failure.ts"
import { selfArgv } from "../host/process/self.ts"
import { followLines } from "../store/logs/lines.ts"
import { openState, ownEnvironment } from "../store/state/open.ts"

const bootedSchema = v.object({
  id: v.string(),
  name: v.string(),
  vmm: v.string(),
  pid: v.optional(v.number()),
  dir: v.string(),
})

/** A VM that is running, in the words of `banger run --detach --json`. */
export type DetachedVm = v.InferOutput<typeof bootedSchema>

const STDOUT = 1
const STDERR = 2

/**
 * Starts a banger in a session of its own that goes on when this one has ended, and waits until its VM is running.
 * What it says until then is passed on to `say`, line by line. It has no descriptor of the caller's, so that nobody who
 * reads this process's output waits for it. Returns the exit code of one that ended before.
 */
export async function detach(
  command: "__run" | "__supervise",
  words: readonly string[],
  say: (line: string) => void,
): Promise<DetachedVm | number> {
  const log = newLog()
  const child = Bun.spawn([...selfArgv(), command, "--log", log.path, ...words], {
    stdio: ["ignore", "pipe", log.fd],
    detached: true,
    env: ownEnvironment(),
  })
  closeSync(log.fd)
  const forward = (name: NodeJS.Signals) => child.kill(name)
  for (const name of FORWARDED) process.on(name, forward)
  const lines = followLines(log.path)
  const stopWatching = lines.watch(() => lines.take().forEach(say))
  try {
    const booted = await firstLine(child.stdout)
    if (booted !== undefined) {
      child.unref()
      return v.parse(v.pipe(v.string(), v.parseJson(), bootedSchema), booted)
    }
    await child.exited
    return child.exitCode ?? EXIT.failed
  } finally {
    stopWatching()
    lines.take().forEach(say)
    lines.close()
    for (const name of FORWARDED) process.off(name, forward)
    removeLog(log.path)
  }
}

/**
 * In the detached banger, before anything of a plugin runs: keeps what standard output was for one report, and makes it
 * what standard error is. What a hook's processes print neither looks like the report nor holds who waits for it. The
 * function it returns tells that one that the VM is running, and lets go of it.
 */
export function takeReporter(): (vm: DetachedVm) => void {
  const fd = openAt(AT_FDCWD, "/dev/null", O.WRONLY)
  replaceDescriptor(STDOUT, fd)
  replaceDescriptor(STDERR, STDOUT, true)
  return (vm) => {
    try {
      writeFor(fd, writerTo(fd), new TextEncoder().encode(`${JSON.stringify(vm)}\n`), REPORT_WAIT_MS)
    } catch {
      // Who waited has gone; the VM is running all the same.
    }
    close(fd)
  }
}

// --- internal ---

const FORWARDED = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const

const REPORT_WAIT_MS = 2000

/** A file beside the VMs' directories: it moves into its VM's, once there is one. */
function newLog(): { path: string; fd: number } {
  const state = openState()
  state.db.close()
  const vms = join(state.where.state, "vms")
  mkdirSync(vms, { recursive: true, mode: 0o700 })
  const path = join(vms, `.detached-${crypto.randomUUID()}.log`)
  const fd = openAt(AT_FDCWD, path, O.WRONLY | O.CREAT | O.EXCL | O.APPEND | O_NOFOLLOW, 0o600)
  // For as long as one of the two has it open: a sweep takes away what nobody holds.
  flock(fd, LOCK.EX | LOCK.NB)
  return { path, fd }
}

function removeLog(path: string): void {
  // ENOENT: it has become the VM's.
  ignoring(["ENOENT"], () =>
    withDescriptor(openAt(AT_FDCWD, join(path, ".."), O.PATH | O_DIRECTORY), (dir) =>
      unlinkAt(dir, path.slice(path.lastIndexOf("/") + 1)),
    ),
  )
}

/** Undefined when it ends without one. */
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
