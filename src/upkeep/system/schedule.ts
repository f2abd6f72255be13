import { realpathSync, statSync } from "node:fs"
import { dirname } from "node:path"
import { accountOf } from "../../base/linux/accounts.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { close } from "../../base/linux/files.ts"
import { Failure, isFailure } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"
import { pinDirectory } from "../../store/files/pinDirectory.ts"
import { trustedWay } from "../../store/files/trustedWay.ts"

// The room system: what has a host run banger by itself: a cron file, systemd's units, and what they run.
// The rule: a file is written or removed only where it is there as banger wrote it, or not at all.

/**
 * Throws UNTRUSTED where somebody besides root can change a program that the host is to run as root, or put another in its place. One
 * that is not there is not looked at.
 */
export function requireSafeProgram(program: string): void {
  const real = unlessAbsent(() => realpathSync(program))
  if (real === undefined) return
  const hint = "have it in a directory that only root can write, as all above it, and run it there"
  const refuse = (why: string, cause?: unknown) =>
    new Failure("UNTRUSTED", `root is not to run ${real} by itself: ${why}`, { hint, subject: real, cause })
  const { uid, mode } = statSync(real)
  if (uid !== 0) throw refuse(`it belongs to uid ${uid}`)
  if ((mode & 0o022) !== 0) throw refuse("it can be written by others")
  try {
    close(pinDirectory(dirname(real)))
    // The name that the host is told may be a symlink.
    trustedWay(program)
  } catch (error) {
    throw isFailure(error) ? refuse(error.message, error) : error
  }
}

/** The variables that say where VMs are: what the host runs later must find those of who had it written. */
const VARIABLES = ["BANGER_STATE_DIR", "BANGER_RUNTIME_DIR", "BANGER_CONFIG"]

/** As these, of a user who is not root. cron knows none of them. */
const USER_VARIABLES = [...VARIABLES, "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"]

/** A variable and its value. */
export type Variable = readonly [name: string, value: string]

/** Those of a user's variables that are set, for a text that is used later. Pure. Throws USAGE as `checkedDirs` does. */
export function variablesOf(env: Readonly<Record<string, string | undefined>>, uid: number): readonly Variable[] {
  const set = (uid === 0 ? VARIABLES : USER_VARIABLES).flatMap((name): Variable[] =>
    env[name] ? [[name, env[name] ?? ""]] : [],
  )
  checkedDirs(set.map(([, value]) => value))
  return set
}

/** The name by which cron knows a user. Throws HOST_LACKS for one without. */
export function cronUser(uid: number): string {
  const name = uid === 0 ? "root" : accountOf(uid)?.name
  if (name !== undefined) return name
  const hint = "banger system units --user prints units of a user's own manager"
  throw new Failure("HOST_LACKS", `uid ${uid} has no name, by which cron could run a line as it`, { hint })
}

/** What a line of cron's runs, and as whom. */
export interface CronOptions {
  readonly program: string
  readonly dirs: readonly string[]
  /** Whose VMs, and sockets, are swept. */
  readonly user?: string
  readonly variables?: readonly Variable[]
}

/** A file for /etc/cron.d that sweeps every minute (crontab(5)). Pure. */
export function cronText({ program, dirs, user = "root", variables = [] }: CronOptions): string {
  // Not as lines of their own: some crons know none.
  const assigned = variables.map(([name, value]) => `${name}=${shellWords([value])} `).join("")
  const command = `${assigned}${shellWords([program, "sweep", "--quiet", ...checkedDirs(dirs)])}`
  return [
    `# /etc/cron.d/banger${user === "root" ? "" : `-${user}`}: removes sockets that nothing is bound to, every minute; it says nothing unless something is wrong.`,
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    // In a crontab a bare % is a newline.
    `* * * * * ${user} ${command.replaceAll("%", "\\%")}`,
  ].join("\n")
}

/** These directories. Throws USAGE when cron or systemd could not be told of one. */
export function checkedDirs(dirs: readonly string[]): readonly string[] {
  for (const dir of dirs) {
    const subject = dir
    if (!dir.startsWith("/")) {
      const hint = "give an absolute path: cron and systemd start in another directory"
      throw new Failure("USAGE", `${dir} is not an absolute path`, { hint, subject })
    }
    if (/\p{Cc}/u.test(dir)) {
      const hint = "name a directory above it"
      throw new Failure("USAGE", `${JSON.stringify(dir)} has control characters`, { hint, subject })
    }
  }
  return dirs
}
