import { realpathSync, statSync } from "node:fs"
import { basename, dirname } from "node:path"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { close } from "../../base/linux/files.ts"
import { Failure, isFailure } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"
import { pinDirectory } from "../../store/files/pinDirectory.ts"

// The room system: what has a host run banger by itself: a cron file, systemd's units, and what they run.
// The rule: a file is written or removed only where it is there as banger wrote it, or not at all.

/** The path of this program, for a line that runs it later. From source: the path of an installed one. */
export function ownProgram(execPath = process.execPath): string {
  return basename(execPath).startsWith("banger") ? execPath : "/usr/local/bin/banger"
}

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
  } catch (error) {
    throw isFailure(error) ? refuse(error.message, error) : error
  }
}

/** A file for /etc/cron.d that sweeps every minute (crontab(5)). Pure. */
export function cronText(program: string, dirs: readonly string[]): string {
  const command = shellWords([program, "sweep", "--quiet", ...checkedDirs(dirs)])
  return [
    "# /etc/cron.d/banger: removes sockets that nothing is bound to, every minute; it says nothing unless something is wrong.",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    // In a crontab a bare % is a newline.
    `* * * * * root ${command.replaceAll("%", "\\%")}`,
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
