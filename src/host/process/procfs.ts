import { O } from "../../base/linux/constants.ts"
import { readStart as readStartOf } from "../../base/linux/content.ts"
import { statFields } from "../../base/linux/ended.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { inodeOf, openAt, statPath, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"

/** Start time of a process in clock ticks after boot: field 22 of the text of /proc/PID/stat (proc(5)). */
export function parseStartTime(stat: string): number | undefined {
  const fields = statFields(stat)
  const ticks = Number(fields[19])
  return fields.length > 19 && Number.isSafeInteger(ticks) ? ticks : undefined
}

/**
 * The wait status of a zombie (it has ended, and its parent has not waited for it), from the text of /proc/PID/stat: its
 * last field. Undefined for any other process, and where the kernel does not show it to us.
 */
export function parseZombieStatus(stat: string, startTime: number): number | undefined {
  const fields = statFields(stat)
  const status = Number(fields[49])
  return fields[0] === "Z" && parseStartTime(stat) === startTime && Number.isSafeInteger(status) ? status : undefined
}

/** Whether a process was stopped by a signal or a debugger (SIGSTOP, Ctrl-Z), as far as /proc tells. */
export function isStopped(pid: number): boolean {
  try {
    const [state = ""] = statFields(readStart(`/proc/${pid}/stat`))
    return /^[Tt]$/.test(state)
  } catch {
    // It has ended, or is hidden.
    return false
  }
}

/** The uid of a process from the text of /proc/PID/status when real, effective, saved and fs uid are all one. */
export function parseSingleUid(status: string): number | undefined {
  const uids = /^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)$/m.exec(status)?.slice(1).map(Number)
  const [first] = uids ?? []
  return first !== undefined && uids?.every((uid) => uid === first) ? first : undefined
}

/** The capabilities a process has or can give itself (CapPrm), from the text of /proc/PID/status. */
export function parsePermitted(status: string): bigint | undefined {
  const [, hex] = /^CapPrm:\t([0-9a-f]+)$/m.exec(status) ?? []
  return hex === undefined ? undefined : BigInt(`0x${hex}`)
}

/** Which PID, time or network namespace this process is in, as `device:inode`; undefined where the kernel has none. */
export function ownNamespace(kind: "pid" | "time" | "net"): string | undefined {
  if (!namespaces.has(kind)) namespaces.set(kind, readNamespace(kind))
  return namespaces.get(kind)
}

/** What /proc says of a process right now. Throws a system error (ENOENT, ESRCH, EACCES). */
export function readProcess(pid: number): { startTime: number | undefined; uid: number | undefined; root: string } {
  const base = `/proc/${pid}`
  return {
    startTime: parseStartTime(readStart(`${base}/stat`)),
    uid: parseSingleUid(readStart(`${base}/status`)),
    root: inodeOf(statPath(`${base}/root`)),
  }
}

// --- internal ---

/** What is looked for in these files comes before this. One read(2) gets so much whole. */
const START_BYTES = 4096

function readStart(path: string): string {
  const bytes = withDescriptor(openAt(AT_FDCWD, path, O.RDONLY), (fd) => readStartOf(fd, START_BYTES))
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1")
}

/** Read once: this process never changes its own. */
const namespaces = new Map<string, string | undefined>()

function readNamespace(kind: string): string | undefined {
  return unlessAbsent(() => inodeOf(statPath(`/proc/self/ns/${kind}`)))
}
