import { join } from "node:path"
import { O, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { writeAll } from "../../base/linux/content.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { openAt, renameAt, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { shownPath, shownText } from "../../base/terms/printable.ts"
import type { SweepReport } from "./sweep.ts"

/** With more bytes the log becomes the one before, of which there is one. */
const LOG_MAX_BYTES = 1024 * 1024

/** So many lines a sweep; of more only the number is told. */
const LINES_MAX_COUNT = 1000

/** What a sweep has removed, a line each: what, whose, how old, why. Pure. */
export function removedLines({
  directories,
  leftovers,
  vms,
}: Pick<SweepReport, "directories" | "leftovers" | "vms">): readonly string[] {
  const sockets = directories.flatMap((directory) => directory.sockets.filter(({ is }) => is === "removed"))
  const lines = [
    ...vms.filter(({ is }) => is === "recovered").map(({ name, id }) => shownText(`VM ${name} (${id}): it was dead`)),
    ...leftovers
      .filter(({ is }) => is === "removed")
      .map(({ kind, name, why }) => shownText(`${kind} ${name}: ${why}`)),
    ...sockets.map((socket) => {
      const back = socket.cameBack === true ? "; another socket has its name again" : ""
      const about = `uid ${socket.uid ?? "?"}, ${socket.ageSeconds ?? "?"} s old`
      return `${shownPath(socket)} (${about}): nothing was bound to it${back}`
    }),
  ]
  if (lines.length <= LINES_MAX_COUNT) return lines
  return [...lines.slice(0, LINES_MAX_COUNT), `and ${lines.length - LINES_MAX_COUNT} more`]
}

/** Appends them to `sweep.log` in a state directory, with the time; where there is none, or no room, nothing is kept. */
export function keepRemoved(state: string, lines: readonly string[]): void {
  if (lines.length === 0) return
  const path = join(state, "sweep.log")
  try {
    const time = new Date().toISOString()
    unlessAbsent(() =>
      withDescriptor(openAt(AT_FDCWD, path, O.WRONLY | O.CREAT | O.APPEND | O_NOFOLLOW, 0o600), (fd) => {
        writeAll(fd, new TextEncoder().encode(lines.map((line) => `${time} removed ${line}\n`).join("")))
        if (statDescriptor(fd).size > LOG_MAX_BYTES) renameAt(AT_FDCWD, path, AT_FDCWD, `${path}.1`)
      }),
    )
  } catch {
    // A full disk: what was removed is removed all the same.
  }
}
