import { readFileSync } from "node:fs"
import { dirname } from "node:path"
import { errorCode, isDiskFull } from "../../base/linux/errors.ts"
import { statPath } from "../../base/linux/files.ts"
import { Failure, type FailureCode, limitHint, messageOf } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"

/** What SQLite has refused and why, as a failure with a code and a hint for just this cause. */
export function databaseTrouble(path: string, what: string, error: unknown): Failure {
  const { code, hint } = causeOf(error, path)
  const holders = code === "BUSY" ? holdersOf(path) : []
  const held = holders.length === 0 ? "" : ` (held by process ${holders.join(", ")})`
  return new Failure(code, `${path} ${what}: ${messageOf(error)}${held}`, { hint, subject: path, cause: error })
}

/** The code of a failure that SQLite, or the file system below it, has caused, and what mends it. Pure. */
export function causeOf(error: unknown, path: string): { readonly code: FailureCode; readonly hint: string } {
  const sqlite = errorCode(error) ?? ""
  const [, , ...rest] = CAUSES.find(([pattern]) => pattern.test(sqlite)) ?? []
  if (isDiskFull(error) && rest.length === 0) return { code: "NO_SPACE", hint: room(path) }
  const limit = limitHint(error)
  if (limit !== undefined) return { code: "HOST_LACKS", hint: limit }
  const [code, hint] = rest
  if (code === undefined || hint === undefined)
    return { code: "BAD_STATE", hint: `nothing was changed; look at it: ls -l ${typed(path)}*` }
  return { code, hint: hint(path) }
}

// --- internal ---

type Cause = readonly [pattern: RegExp, about: string, code: FailureCode, hint: (path: string) => string]

/** As a shell needs it. */
const typed = (path: string) => shellWords([path])

const room = (path: string) => `make room there: df ${typed(dirname(path))}; df -i ${typed(dirname(path))}`

const damaged = (path: string) =>
  `keep a copy: cp -a ${typed(path)}* /DIR; then put a good one back, or: sqlite3 ${typed(path)} .recover | sqlite3 /DIR/state.db`

/** https://sqlite.org/rescode.html, and errno(3) of the lock beside it; the first that fits. */
const CAUSES: readonly Cause[] = [
  [
    /^SQLITE_(?:BUSY|LOCKED)/,
    "another process writes",
    "BUSY",
    (path) => `try again; to see who has it: fuser -v ${typed(path)}`,
  ],
  [/^SQLITE_(?:FULL|IOERR_SHMSIZE)/, "the disk is full", "NO_SPACE", room],
  [
    /^(?:SQLITE_READONLY|EROFS$)/,
    "a read-only mount or file",
    "NO_SPACE",
    (path) => `it, or its file system, is read-only: findmnt -T ${typed(path)}; ls -l ${typed(path)}*`,
  ],
  [/^SQLITE_(?:CORRUPT|NOTADB|FORMAT)/, "the file is damaged", "BAD_STATE", damaged],
  [
    /^SQLITE_(?:CANTOPEN|PERM|AUTH)/,
    "the file cannot be opened",
    "BAD_STATE",
    (path) =>
      `it must be a regular file of yours: ls -ld ${typed(dirname(path))} ${typed(path)}*; and there must be descriptors left: ulimit -n`,
  ],
  [
    /^SQLITE_IOERR/,
    "the disk does not read or write",
    "BAD_STATE",
    (path) => `its disk has an error, or was taken away: dmesg | tail; findmnt -T ${typed(path)}`,
  ],
  [
    /^SQLITE_NOMEM/,
    "no memory is left",
    "HOST_LACKS",
    () => "free some memory, or raise the limit: free -m; ulimit -v",
  ],
]

/** The processes that hold locks on a database, as far as /proc/locks tells, by inode: on btrfs the devices there are others. */
function holdersOf(path: string): readonly number[] {
  try {
    const inodes = [path, `${path}-wal`, `${path}-shm`].flatMap((file) => inodeNumber(file) ?? [])
    const lines = readFileSync("/proc/locks", "latin1").split("\n")
    const pids = lines.flatMap((line) => {
      const [, pid, inode] = /WRITE\s+(\d+) [0-9a-f]+:[0-9a-f]+:(\d+) /.exec(line) ?? []
      return inode !== undefined && inodes.includes(inode) ? [Number(pid)] : []
    })
    return [...new Set(pids)].filter((pid) => pid !== process.pid && pid > 0)
  } catch {
    return []
  }
}

function inodeNumber(path: string): string | undefined {
  try {
    return String(statPath(path).ino)
  } catch {
    return undefined
  }
}
