import { realpathSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { O } from "../../base/linux/constants.ts"
import { close, openAt, statAt } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure, inOneLine, messageOf } from "../../base/terms/failure.ts"
import { pinDirectory } from "./pinDirectory.ts"

/** Where programs for administrators are, which not every PATH has. */
export const ADMIN_PATH = ["/usr/sbin", "/sbin"]

/** What PATH has by a name. */
export interface FoundProgram {
  /** Absolute; undefined when there is none that may be run. */
  readonly path: string | undefined
  /** Why some that are there were passed over. */
  readonly passedOver: readonly string[]
}

/**
 * Looks for a program in PATH, and then in `more`. A directory that is not absolute (`.`, or an empty word) counts for
 * nothing: it is whatever directory banger is started in. Root passes over what others could
 * have put there, or could change. Throws nothing.
 */
export function findProgram(name: string, more: readonly string[] = [], PATH = process.env.PATH ?? ""): FoundProgram {
  const passedOver: string[] = []
  for (const dir of [...PATH.split(":"), ...more]) {
    const path = dir.startsWith("/") ? Bun.which(name, { PATH: dir }) : null
    if (path === null) continue
    const found = process.geteuid?.() === 0 ? asRoot(path) : { path }
    if ("path" in found) return { ...found, passedOver }
    passedOver.push(`${path} is passed over: ${found.why}`)
  }
  return { path: undefined, passedOver }
}

/** What a program said. */
export interface Said {
  /** Null when it did not end in time. */
  readonly exit: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A program that is stuck is ended after this time, in milliseconds. */
const PROGRAM_WAIT_MS = 20_000

/**
 * Runs a program of the system with nothing of this process: no environment, so that it speaks as it is written, and no
 * directory. Undefined when there is none that may be run.
 */
export function runSystem(
  [name = "", ...args]: readonly string[],
  input = "",
  limit: number = PROGRAM_WAIT_MS,
): Said | undefined {
  const { path } = findProgram(name, ADMIN_PATH)
  if (path === undefined) return undefined
  const { exitCode, stdout, stderr } = Bun.spawnSync([path, ...args], {
    stdin: Buffer.from(input),
    timeout: limit,
    cwd: "/",
    env: {},
  })
  return { exit: exitCode, stdout: stdout.toString(), stderr: stderr.toString() }
}

// --- internal ---

/**
 * The program in its directory's own path, or why root should not run it: it, or a directory on the way to it, is another's
 * or can be written by others.
 */
function asRoot(path: string): { path: string } | { why: string } {
  try {
    const [real, dir] = [realpathSync(path), realpathSync(dirname(path))]
    for (const each of new Set([dir, dirname(real)])) close(pinDirectory(each))
    const why = whyNotFile(real)
    return why === undefined ? { path: join(dir, basename(path)) } : { why }
  } catch (error) {
    return { why: error instanceof Failure ? inOneLine(error) : messageOf(error) }
  }
}

function whyNotFile(path: string): string | undefined {
  const dir = openAt(AT_FDCWD, dirname(path), O.PATH)
  try {
    const { uid, mode } = statAt(dir, basename(path))
    if (uid !== 0) return `it belongs to uid ${uid} (run: chown root ${path})`
    return (mode & 0o022) === 0 ? undefined : `others can write it (run: chmod go-w ${path})`
  } finally {
    close(dir)
  }
}
