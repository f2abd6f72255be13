import { O, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { readAll, setLength, writeAll } from "../../base/linux/content.ts"
import { ignoring, unlessAbsent } from "../../base/linux/errors.ts"
import { close, openBeneath, unlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { shownText } from "../../base/terms/printable.ts"
import { takeNamedLock } from "../files/lock.ts"
import type { Disks } from "./disks.ts"

/** A command that finds the disk claimed unlocks it at once: a VM waits so long for that, in milliseconds. */
const PATIENCE_MS = 1000
const RETRY_MS = 10

/** A process at work on a disk. */
export interface DiskWork {
  readonly name: string
  /** What it does, for others: `an export`. */
  readonly what: string
}

/**
 * Does work on a disk, or on what is to be one, while no other process does. Throws BUSY, which says what is being done there,
 * when another is at it. A process that is killed unlocks by that.
 */
export async function withDisk<T>(disks: Disks, { name, what }: DiskWork, work: () => T | Promise<T>): Promise<T> {
  const file = lockOf(name)
  const fd = await lock(disks, name)
  try {
    // A full disk keeps nobody from a disk that is there.
    ignoring(["ENOSPC", "EDQUOT"], () => {
      setLength(fd, 0)
      writeAll(fd, new TextEncoder().encode(`${what} by process ${process.pid}`))
    })
    return await work()
  } finally {
    // First its name goes, then the lock: whoever waits for it makes another.
    ignoring(["ENOENT", "EROFS"], () => unlinkAt(disks.fd, file))
    close(fd)
  }
}

/** Whether a file of the directory is such a lock. Pure. */
export function isDiskLock(file: string): boolean {
  return /^\.[a-z0-9-]{1,63}\.lock$/.test(file)
}

// --- internal ---

function lockOf(name: string): string {
  return `.${name}.lock`
}

async function lock(disks: Disks, name: string): Promise<number> {
  const deadline = performance.now() + PATIENCE_MS
  for (;;) {
    const fd = takeNamedLock(disks.fd, lockOf(name))
    if (fd !== undefined) return fd
    if (performance.now() >= deadline) throw busy(disks, name)
    await Bun.sleep(RETRY_MS)
  }
}

function busy(disks: Disks, name: string): Failure {
  const said = unlessAbsent(() =>
    withDescriptor(openBeneath(disks.fd, lockOf(name), O.RDONLY | O_NOFOLLOW), (fd) =>
      new TextDecoder().decode(readAll(fd, SAID_MAX_BYTES)),
    ),
  )
  const by = said === undefined || said === "" ? "another process" : shownText(said).replaceAll("\n", " ")
  return new Failure("BUSY", `the disk ${name} is being used: ${by}`, {
    hint: "try again when that is done",
    subject: name,
  })
}

const SAID_MAX_BYTES = 4096
