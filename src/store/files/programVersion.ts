import { realpathSync } from "node:fs"
import * as v from "valibot"
import { O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { readAll, readStart, writeAll } from "../../base/linux/content.ts"
import { isType, openAt, openNamed, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { once } from "../../base/terms/once.ts"
import { pinDirectory } from "./pinDirectory.ts"

/** The name of the file that remembers answers, in the state directory. */
const MEMORY = "programs.json"

/** A larger file is not ours; of more programs the oldest answers are forgotten. */
const MEMORY_MAX_BYTES = 64 * 1024
const PROGRAMS_MAX_COUNT = 16

/** An answer is no longer than this, in characters. */
const ANSWER_MAX_COUNT = 500

/** A file that has changed within this time, in milliseconds, could change once more without its times telling. */
const SETTLED_MS = 2000

const memorySchema = v.record(v.string(), v.pipe(v.string(), v.maxLength(ANSWER_MAX_COUNT)))
type Memory = v.InferOutput<typeof memorySchema>

/** Tells what `program --version` prints. Rejects with a system error when the program cannot be run. */
export type VersionOf = (program: string) => Promise<string>

/**
 * Asks each program once for its version: the program is known by device, inode, size and times, and the answer is remembered in
 * `state` if that directory is there. A memory that another user could have written is not believed, and that of a script is not
 * kept: its answer may come from another file.
 */
export function versionsIn(state: string | undefined): VersionOf {
  const memory = once(() => (state === undefined ? {} : recallFrom(state)))
  return async (program) => {
    const identity = state === undefined ? undefined : identityOf(program)
    const known = identity === undefined ? undefined : memory()[identity]
    if (known !== undefined) return known
    const child = Bun.spawn([program, "--version"], { stdin: "ignore", stdout: "pipe", stderr: "ignore", env: {} })
    const text = (await child.stdout.text()).slice(0, ANSWER_MAX_COUNT)
    const whole = (await child.exited) === 0 && text !== "" && identityOf(program) === identity
    if (state !== undefined && identity !== undefined && whole) remember(state, identity, text)
    return text
  }
}

// --- internal ---

/** What only this very file has; undefined for a script, or one that has just changed. */
function identityOf(program: string): string | undefined {
  try {
    return withDescriptor(openNamed(program, O.RDONLY | O.NONBLOCK), (fd) => {
      const stat = statDescriptor(fd)
      const isProgram = isType(stat, S.IFREG) && Buffer.from(readStart(fd, 4)).toString("latin1") === "\x7fELF"
      return isProgram && Date.now() - stat.ctimeMs > SETTLED_MS ? identityIn(stat) : undefined
    })
  } catch {
    // It may be run, but not read.
    return undefined
  }
}

function identityIn({ dev, ino, size, mtimeMs, ctimeMs }: Stat): string {
  return [dev, ino, size, mtimeMs, ctimeMs].join(" ")
}

function recallFrom(state: string): Memory {
  try {
    return withDescriptor(pinDirectory(realpathSync(state)), (dir) =>
      withDescriptor(openAt(dir, MEMORY, O.RDONLY | O.NONBLOCK | O_NOFOLLOW), (fd) => {
        const stat = statDescriptor(fd)
        const own = isType(stat, S.IFREG) && stat.uid === process.geteuid?.() && (stat.mode & 0o022) === 0
        if (!own || stat.size > MEMORY_MAX_BYTES) return {}
        return v.parse(memorySchema, JSON.parse(new TextDecoder().decode(readAll(fd, stat.size))))
      }),
    )
  } catch {
    // There is none yet, or it cannot be believed: the program is asked.
    return {}
  }
}

/** Written in place: nothing is left when this process is killed, and a memory that is cut off is no JSON. */
function remember(state: string, identity: string, text: string): void {
  try {
    const kept = Object.entries(recallFrom(state)).slice(1 - PROGRAMS_MAX_COUNT)
    const json = JSON.stringify({ ...Object.fromEntries(kept), [identity]: text })
    withDescriptor(pinDirectory(realpathSync(state)), (dir) =>
      withDescriptor(openAt(dir, MEMORY, O.WRONLY | O.CREAT | O.TRUNC | O_NOFOLLOW, 0o600), (fd) =>
        writeAll(fd, new TextEncoder().encode(json)),
      ),
    )
  } catch {
    // Without a state directory, or on a full disk, it is asked again.
  }
}
