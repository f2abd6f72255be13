import * as v from "valibot"
import { O, S } from "../../base/linux/constants.ts"
import { readAll } from "../../base/linux/content.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { isType, openAt, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure, isFailure, messageOf } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"

const program = v.optional(v.pipe(v.string(), v.startsWith("/", "an absolute path")))

const ACCEL_WORDS = '"auto", "kvm" or "tcg"'
const accel = v.optional(v.picklist(["auto", "kvm", "tcg"], ACCEL_WORDS))

const SUDO_WORDS = "true or false"
const sudo = v.optional(v.boolean(SUDO_WORDS))

const configSchema = v.strictObject({ firecracker: program, jailer: program, qemu: program, accel, sudo })

/** What the configuration file says: the paths of programs that are not in PATH, by what QEMU runs guests, whether sudo may be asked. */
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

// --- internal ---

function readOwn(path: string): string | undefined {
  const fd = unlessAbsent(() => openAt(AT_FDCWD, path, O.RDONLY | O.NONBLOCK), ["ENOENT", "ENOTDIR"])
  if (fd === undefined) return undefined
  return withDescriptor(fd, () => {
    const stat = statDescriptor(fd)
    if (!isType(stat, S.IFREG)) throw bad(path, `${path} is not a regular file`)
    const root = process.geteuid?.() === 0
    const untrusted = (why: string, hint: string) => new Failure("UNTRUSTED", `${path} ${why}`, { hint, subject: path })
    if (root && stat.uid !== 0) throw untrusted(`belongs to uid ${stat.uid}, not to root`, `run: chown root ${path}`)
    if (root && (stat.mode & 0o022) !== 0) throw untrusted("can be written by others", `run: chmod go-w ${path}`)
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
  return new Failure("BAD_CONFIG", message, { hint: "docs/firecracker.md has an example", subject: path, cause })
}

function describe(issue: v.BaseIssue<unknown>): string {
  const key = String(issue.path?.at(-1)?.key ?? "")
  const near = nearest(key, Object.keys(configSchema.entries))
  if (issue.expected === "never") return `unknown key ${key}${near === undefined ? "" : `; did you mean ${near}?`}`
  const allowed = key === "accel" ? ACCEL_WORDS : key === "sudo" ? SUDO_WORDS : "an absolute path"
  return `${key} is ${Bun.inspect(issue.input)}; allowed: ${allowed}`
}
