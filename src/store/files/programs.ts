import { realpathSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { O } from "../../base/linux/constants.ts"
import { close, openAt, statAt } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure, inOneLine, messageOf } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"
import { pinDirectory } from "./pinDirectory.ts"

/** Directories of programs for administrators, which some PATHs lack. */
export const ADMIN_PATH = ["/usr/sbin", "/sbin"]

/** What PATH has by a name. */
export interface FoundProgram {
  /** Absolute; undefined when no program of the name may be run. */
  readonly path: string | undefined
  /** Why programs of the name were passed over. */
  readonly passedOver: readonly string[]
}

/**
 * Looks for a program in PATH, and then in `more`. Ignores directories that are not absolute (`.`, or an empty word): they
 * depend on where banger is started. Root passes over programs that others could have put there or could change. Throws
 * nothing.
 */
export function findProgram(name: string, more: readonly string[] = [], PATH = process.env.PATH ?? ""): FoundProgram {
  const given = named(name)
  if (given !== undefined) return { path: given, passedOver: [] }
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

/** Why root must not run the program at an absolute path; undefined: it may. */
export function whyUntrusted(path: string): string | undefined {
  const answer = asRoot(path)
  return "why" in answer ? answer.why : undefined
}

/** How a program ended, and its output. */
export interface Said {
  /** Null when it was killed because its time ran out. */
  readonly exit: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A program that is stuck is ended after this time, in milliseconds. */
const RUN_MAX_MS = 20_000

/**
 * Runs a program of the system in `/` with an empty environment, so that its output is not translated. Undefined when no
 * program of the name may be run.
 */
export function runSystem(
  [name = "", ...args]: readonly string[],
  input = "",
  limitMs: number = RUN_MAX_MS,
): Said | undefined {
  const { path } = findProgram(name, ADMIN_PATH)
  if (path === undefined) return undefined
  const { exitCode, stdout, stderr } = Bun.spawnSync([path, ...args], {
    stdin: Buffer.from(input),
    timeout: limitMs,
    // No key of a terminal stops it: this process may hold what others wait for.
    detached: true,
    cwd: "/",
    env: {},
  })
  return { exit: exitCode, stdout: stdout.toString(), stderr: stderr.toString() }
}

/** Has `findProgram` take the programs that the configuration names, which is read above this room. */
export function nameProgramsBy(look: (name: string) => string | undefined): void {
  named = look
}

// --- internal ---

let named: (name: string) => string | undefined = () => undefined

/**
 * The program by the real path of its directory, or why root must not run it: the program, or a directory on the way to it,
 * belongs to another user or can be written by others.
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
    if (uid !== 0) return `it belongs to uid ${uid} (run: ${shellWords(["chown", "root", path])})`
    return (mode & 0o022) === 0 ? undefined : `others can write it (run: ${shellWords(["chmod", "go-w", path])})`
  } finally {
    close(dir)
  }
}
