import { existsSync, readdirSync } from "node:fs"
import { basename, dirname } from "node:path"
import { chmodDescriptor, procPath } from "../../base/linux/access.ts"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { sync, writeAll } from "../../base/linux/content.ts"
import { errorCode, ignoring } from "../../base/linux/errors.ts"
import { linkDescriptor, openAt, renameAt, unlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure, type FailureCode } from "../../base/terms/failure.ts"
import { takeNamedLock } from "../../store/files/lock.ts"

/** Directories whose files belong to a package manager. */
const PACKAGED = /^\/(?:usr\/)?s?bin\/|^\/(?:nix|snap)\//

/** A new binary has this long to tell its version, in milliseconds. */
const TELL_MS = 30_000

/**
 * Puts a new binary in the place of `path`, and keeps the old one beside it as `….old`. At every moment one of the two has
 * the name, so a banger that runs continues and a banger that starts is whole. The new binary must first run and tell
 * this version. Throws a failure that leaves the old one where it was.
 */
export function replaceBinary(path: string, content: Uint8Array, version: string): void {
  inDirectoryOf(path, (dir, name) => {
    const staged = `.${name}.new.${process.pid}`
    forget(dir, staged)
    try {
      write(dir, staged, content)
      requireVersion(`${dirname(path)}/${staged}`, version)
      withDescriptor(openAt(dir, name, O.PATH | O_NOFOLLOW), (old) => keep(dir, old, `${name}.old`))
      renameAt(dir, staged, dir, name)
      sync(dir)
    } catch (error) {
      forget(dir, staged)
      throw error
    }
  })
}

/** Swaps the binary with the one that the last update, or install.sh, kept. Returns the version that is back. */
export function rollBack(path: string): string {
  return inDirectoryOf(path, (dir, name) => {
    const kept = `${path}.old`
    const version = versionOf(kept)
    const between = `.${name}.new.${process.pid}`
    forget(dir, between)
    withDescriptor(openAt(dir, `${name}.old`, O.PATH | O_NOFOLLOW), (old) => {
      linkDescriptor(old, dir, between)
      withDescriptor(openAt(dir, name, O.PATH | O_NOFOLLOW), (current) => keep(dir, current, `${name}.old`))
      renameAt(dir, between, dir, name)
      sync(dir)
    })
    return version
  })
}

// --- internal ---

function inDirectoryOf<T>(path: string, work: (dir: number, name: string) => T): T {
  if (PACKAGED.test(path)) {
    const hint = "update it by that: apt-get install --only-upgrade banger"
    throw new Failure("IN_USE", `${path} is a package manager's`, { hint, subject: path })
  }
  return withDescriptor(openAt(AT_FDCWD, dirname(path), O.RDONLY | O_DIRECTORY), (dir) => {
    try {
      return locked(dir, path, () => {
        clearLeftovers(dir, basename(path))
        return work(dir, basename(path))
      })
    } catch (error) {
      throw explained(error, path)
    }
  })
}

/**
 * Runs `work` while no other process holds the same lock, a file that is gone afterwards. Not the directory itself: anybody
 * who can read a directory could lock it for ever.
 */
function locked<T>(dir: number, path: string, work: () => T): T {
  const lock = `.${basename(path)}.new.lock`
  const held = takeNamedLock(dir, lock)
  if (held === undefined) throw new Failure("BUSY", `another update of ${path} runs`, { subject: path })
  return withDescriptor(held, () => {
    try {
      return work()
    } finally {
      forget(dir, lock)
    }
  })
}

/** Removes what killed updates and installs left, but nothing of a process that still runs (install.sh). */
function clearLeftovers(dir: number, name: string): void {
  if (!existsSync("/proc/self")) return
  for (const entry of readdirSync(procPath(dir))) {
    const prefix = `.${name}.new.`
    const [, pid] = entry.startsWith(prefix)
      ? (/^(?:old\.)?(\d+)(?:\.\w+)?$/.exec(entry.slice(prefix.length)) ?? [])
      : []
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) forget(dir, entry)
  }
}

function explained(error: unknown, path: string): unknown {
  const code = errorCode(error)
  const dir = dirname(path)
  if (code === "ENOSPC" || code === "EDQUOT") {
    const hint = `nothing was changed; free some: df ${dir}`
    return new Failure("NO_SPACE", `no space is left in ${dir}`, { hint, subject: dir, cause: error })
  }
  if (code === "EROFS")
    return new Failure("NO_SPACE", `${dir} is mounted read-only`, {
      hint: "nothing was changed",
      subject: dir,
      cause: error,
    })
  if (code !== "EACCES" && code !== "EPERM") return error
  return new Failure("NEEDS_ROOT", `${dir} cannot be written by this user`, {
    hint: "run: sudo banger update",
    subject: dir,
    cause: error,
  })
}

function write(dir: number, name: string, content: Uint8Array): void {
  withDescriptor(openAt(dir, name, O.WRONLY | O.CREAT | O.EXCL | O_NOFOLLOW, 0o700), (fd) => {
    writeAll(fd, content)
    chmodDescriptor(fd, 0o755)
    sync(fd)
  })
}

/** Gives a file a second name, replacing the file that has it. */
function keep(dir: number, file: number, name: string): void {
  const between = `.${name.replace(/\.old$/, "")}.new.old.${process.pid}`
  forget(dir, between)
  linkDescriptor(file, dir, between)
  // Where both names are one file already, rename(2) does nothing and leaves them both.
  renameAt(dir, between, dir, name)
  forget(dir, between)
}

function forget(dir: number, name: string): void {
  ignoring(["ENOENT"], () => unlinkAt(dir, name))
}

function requireVersion(path: string, version: string): void {
  const found = versionOf(path)
  if (found !== version)
    throw new Failure("NOT_AUTHENTIC", `the release ${version} holds banger ${found}`, {
      hint: "nothing was changed",
      subject: version,
    })
}

/** The version that a binary tells, run with an empty environment. */
function versionOf(path: string): string {
  const failure = (why: string, cause?: unknown, code: FailureCode = "HOST_LACKS") =>
    new Failure(code, `${path} does not run here: ${why}`, { hint: "nothing was changed", subject: path, cause })
  let said: Bun.SyncSubprocess<"pipe", "pipe">
  try {
    said = Bun.spawnSync([path, "--version"], {
      env: {},
      cwd: "/",
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout: TELL_MS,
    })
  } catch (error) {
    if (errorCode(error) === "ENOENT") {
      const hint = "only an update, or install.sh, keeps one"
      throw new Failure("BAD_FILE", `there is no ${path}`, { hint, subject: path, cause: error })
    }
    throw failure(String(error), error)
  }
  const [, version] = /^banger (\S+) \(/.exec(said.stdout.toString()) ?? []
  if (said.exitCode === 0 && version !== undefined) return version
  if (said.exitedDueToTimeout === true)
    throw failure(`it did not tell its version in ${TELL_MS / 1000} s`, undefined, "TIMED_OUT")
  throw failure(said.stderr.toString().trim().split("\n").at(-1) || `it says ${JSON.stringify(said.stdout.toString())}`)
}
