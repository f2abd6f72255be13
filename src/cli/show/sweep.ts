import { Failure } from "../../base/terms/failure.ts"
import { shownPath, shownText } from "../../base/terms/printable.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import type { SweepReport } from "../../upkeep/sweep/sweep.ts"
import type { Output } from "../terminal/output.ts"

/** Tells what a sweep found: nothing when there is nothing to say. `json`: its data was printed already. */
export function showSweep(report: SweepReport, json: boolean, output: Output): void {
  for (const vm of report.vms) showVm(vm, output)
  for (const leftover of report.leftovers) showLeftover(leftover, report.dryRun && !json, output)
  for (const directory of report.directories) showDirectory(directory, report.dryRun && !json, output)
  const { removed, errors } = report.totals
  const recovered = report.vms.some(({ is }) => is === "recovered")
  const cleared = report.leftovers.some(({ is }) => is === "removed")
  if (removed > 0 || recovered || cleared || errors > 0 || report.dryRun) output.log.info(summary(report))
}

/** What a sweep fails with: something could not be done, or another sweep is in a directory, which --quiet takes for fine. */
export function failureOf({ totals, directories }: SweepReport, quiet: boolean): Failure | undefined {
  if (totals.errors > 0) return new Failure("NOT_RELEASED", `${counted(totals.errors, "thing")} could not be swept`)
  const busy = quiet ? undefined : directories.find(({ is }) => is === "busy")
  if (busy === undefined) return undefined
  const path = shownPath(busy)
  return new Failure("BUSY", `${path} is not swept: ${shownText(busy.why ?? "")}`, {
    subject: path,
    hint: busy.hint,
  })
}

/** `14 sockets in 2 directories: 3 alive, 8 removed, 3 kept (2 young, 1 lock)`. Pure. */
export function summary({ directories, totals, vms, leftovers, dryRun }: SweepReport): string {
  const kept = Object.entries(totals.kept).filter(([, count]) => count > 0)
  const all = kept.reduce((sum, [, count]) => sum + count, 0)
  const kinds = kept.map(([reason, count]) => `${count} ${reason}`).join(", ")
  const parts = [
    `${totals.alive} alive`,
    dryRun ? `${totals.dead} would be removed` : `${totals.removed} removed`,
    ...(all > 0 ? [`${all} kept (${kinds})`] : []),
    ...(totals.unknown > 0 ? [`${totals.unknown} unknown`] : []),
    ...(totals.errors > 0 ? [counted(totals.errors, "error")] : []),
  ]
  const dead = vms.filter(({ is }) => is === "recovered" || is === "dead").length
  if (dead > 0) parts.push(`${counted(dead, "dead VM")} ${dryRun ? "would be recovered" : "recovered"}`)
  const nobodys = leftovers.filter(({ is }) => is === "removed" || is === "dead").length
  if (nobodys > 0) parts.push(`${counted(nobodys, "leftover")} ${dryRun ? "would be removed" : "removed"}`)
  const where = counted(directories.length, "directory", "directories")
  return `${counted(totals.examined, "socket")} in ${where}: ${parts.join(", ")}`
}

// --- internal ---

type SweptDirectory = SweepReport["directories"][number]

function showVm({ name, id, is, why, hint }: SweepReport["vms"][number], { log }: Output): void {
  const words = `${name} (${id}): ${is}${why === undefined ? "" : `: ${why}`}${hint === undefined ? "" : `\n${hint}`}`
  if (is === "unknown" || is === "failed") log.warn(shownText(words))
  else log.debug(shownText(words))
}

/** What lives and has no record is worth a word each time: nobody else knows of it. */
function showLeftover(leftover: SweepReport["leftovers"][number], dryRun: boolean, { log, print }: Output): void {
  const { kind, name, is, why, hint } = leftover
  const what = shownText(`${kind} ${name}`)
  if (dryRun && is === "dead") print(`${what}: ${shownText(why)}`)
  const words = `${shownText(why)}${hint === undefined ? "" : `\n${shownText(hint)}`}`
  if (is === "failed") log.warn(`${what} could not be removed: ${words}`)
  else if (is === "unknown") log.warn(`${what} is left alone: cannot tell: ${words}`)
  else if (is === "alive") log.warn(`${what} has no record and is left alone: ${words}`)
  else log.debug(`${what}: ${is}: ${words}`)
}

function showDirectory(directory: SweptDirectory, dryRun: boolean, { log, print }: Output): void {
  const { is, hint } = directory
  const [path, why] = [shownPath(directory), shownText(directory.why ?? "")]
  if (is === "busy") log.info(`${path} is not swept: ${why}`)
  if (is === "kept") log.info(`${path} is not swept: ${why}; ${hint}`)
  if (is === "refused" || is === "failed") {
    log.error(`${path} is not swept: ${why}${hint === undefined ? "" : `\n${hint}`}`)
  }
  for (const socket of directory.sockets) {
    if (dryRun && socket.is === "dead") print(`${shownPath(socket)}: dead for ${age(socket.ageSeconds)}`)
    const words = [socket.is, socket.reason, socket.why].filter((word) => word !== undefined)
    log.debug(`${shownPath(socket)}: ${shownText(words.join(": "))}`)
  }
  if (dryRun && directory.removal === "re-checked" && directory.sockets.some((socket) => socket.is === "dead")) {
    log.info(`${path}: ${why}: a socket is examined once more just before it is removed; ${hint}`)
  }
  showTroubles(directory, log)
}

/** One line for each kind of trouble, however many sockets have it. */
function showTroubles({ sockets }: SweptDirectory, log: Output["log"]): void {
  const troubled = sockets.filter(({ is }) => is === "failed" || is === "unknown")
  const kinds = Map.groupBy(troubled, ({ is, why }) => `${is} ${why}`)
  for (const [first, ...others] of kinds.values()) {
    if (first === undefined) continue
    const more = others.length === 0 ? "" : `, and ${others.length} more like it`
    const what = first.is === "failed" ? "is dead and could not be removed" : "is left alone: cannot tell"
    log.warn(`${shownPath(first)} ${what}: ${shownText(first.why ?? "")}${more}`)
  }
}

function age(seconds = 0): string {
  return formatDuration(seconds * 1000)
}

function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}
