import * as v from "valibot"
import { O, S } from "../../base/linux/constants.ts"
import { readAll } from "../../base/linux/content.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { isType, openAt, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure, isFailure, messageOf } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"
import { shellWords } from "../../base/terms/shell.ts"
import { ADMIN_PATH, findProgram } from "../files/programs.ts"

/** The programs that banger looks for; each can be named. */
export const PROGRAMS = ["firecracker", "jailer", "qemu", "nft", "xz", "systemctl"] as const

/** A program that can be named. */
export type ProgramKey = (typeof PROGRAMS)[number]

const PROGRAM_WORDS = "an absolute path, or a name that is looked up in PATH"
const program = v.optional(v.pipe(v.string(), v.regex(/^(?:\/|~\/.|[^/~\0][^/\0]*$)/)))

const PLACE_WORDS = "an absolute path"
const place = v.optional(v.pipe(v.string(), v.startsWith("/")))

const ACCEL_WORDS = '"auto", "kvm" or "tcg"'
const accel = v.optional(v.picklist(["auto", "kvm", "tcg"], ACCEL_WORDS))

const SUDO_WORDS = "true or false"
const sudo = v.optional(v.boolean(SUDO_WORDS))

/** So many VMs a user of sudo may have at a time, where the configuration leaves it open. */
export const SUDO_VMS_DEFAULT_COUNT = 64
const SUDO_VMS_MAX_COUNT = 10_000
const SUDO_VMS_WORDS = `a whole number from 0 to ${SUDO_VMS_MAX_COUNT}`
const sudoVms = v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(SUDO_VMS_MAX_COUNT)))

/** What may stand in the file. */
export const configSchema = v.strictObject({
  ...{ firecracker: program, jailer: program, qemu: program, nft: program, xz: program, systemctl: program },
  ...{ accel, sudo, sudoQemu: sudo, sudoVms, state: place, runtime: place },
} satisfies Readonly<Record<ProgramKey, unknown>> & Readonly<Record<string, unknown>>)

/** What the configuration file says: other programs than those of PATH, by what QEMU runs guests, where VMs are kept, and what is had by sudo. */
export type Config = v.InferOutput<typeof configSchema>

/** A larger file than this is not a configuration. */
const CONFIG_MAX_BYTES = 1024 * 1024

/**
 * Reads the configuration; a missing file is an empty one. Throws a failure that names the file and its fault: as root
 * also that others can write it.
 */
export function readConfig(path: string): Config {
  const text = explaining(path, "cannot be read", () => readOwn(path))
  if (text === undefined) return {}
  const result = v.safeParse(
    configSchema,
    explaining(path, "is not TOML", () => Bun.TOML.parse(text)),
  )
  if (result.success) return result.output
  throw bad(path, result.issues.map((issue) => `${path}: ${describe(issue)}`).join("\n"))
}

/**
 * Where the program is that a configuration names: a bare name is looked up in PATH, by the rules of `findProgram`; `~/` is the
 * user's home directory, which root's is not asked for. Undefined where it names none. Throws BAD_CONFIG where that is not there.
 */
export function configured(config: Config, key: ProgramKey, path: string): string | undefined {
  const named = config[key]
  if (named === undefined || named.startsWith("/")) return named
  if (named.startsWith("~/")) {
    const home = process.env.HOME
    if (process.geteuid?.() !== 0 && home?.startsWith("/") === true) return `${home}${named.slice(1)}`
    throw bad(path, `${path}: ${key} is ${Bun.inspect(named)}, and ~ is a user's who is not root and has a HOME`)
  }
  const found = findProgram(named, ADMIN_PATH)
  if (found.path !== undefined) return found.path
  throw bad(path, [`${path}: ${key} is ${Bun.inspect(named)}, which is not in PATH`, ...found.passedOver].join("; "))
}

// --- internal ---

function wordsOf(key: string): string {
  if (key === "accel") return ACCEL_WORDS
  if (key === "sudoVms") return SUDO_VMS_WORDS
  if (key === "sudo" || key === "sudoQemu") return SUDO_WORDS
  return key === "state" || key === "runtime" ? PLACE_WORDS : PROGRAM_WORDS
}

function readOwn(path: string): string | undefined {
  const fd = unlessAbsent(() => openAt(AT_FDCWD, path, O.RDONLY | O.NONBLOCK), ["ENOENT", "ENOTDIR"])
  if (fd === undefined) return undefined
  return withDescriptor(fd, () => {
    const stat = statDescriptor(fd)
    if (!isType(stat, S.IFREG)) throw bad(path, `${path} is not a regular file`)
    const root = process.geteuid?.() === 0
    const untrusted = (why: string, hint: string) => new Failure("UNTRUSTED", `${path} ${why}`, { hint, subject: path })
    if (root && stat.uid !== 0)
      throw untrusted(`belongs to uid ${stat.uid}, not to root`, `run: ${shellWords(["chown", "root", path])}`)
    if (root && (stat.mode & 0o022) !== 0)
      throw untrusted("can be written by others", `run: ${shellWords(["chmod", "go-w", path])}`)
    return new TextDecoder("utf-8", { fatal: true }).decode(readAll(fd, CONFIG_MAX_BYTES))
  })
}

function explaining<T>(path: string, what: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw isFailure(error) ? error : bad(path, `${path} ${what}: ${messageOf(error)}`, error)
  }
}

function bad(path: string, message: string, cause?: unknown): Failure {
  return new Failure("BAD_CONFIG", message, { hint: "docs/config.md has each key", subject: path, cause })
}

function describe(issue: v.BaseIssue<unknown>): string {
  const key = String(issue.path?.at(-1)?.key ?? "")
  const near = nearest(key, Object.keys(configSchema.entries))
  if (issue.expected === "never") return `unknown key ${key}${near === undefined ? "" : `; did you mean ${near}?`}`
  return `${key} is ${Bun.inspect(issue.input)}; allowed: ${wordsOf(key)}`
}
