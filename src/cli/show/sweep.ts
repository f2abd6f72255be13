import { EXIT } from "../../base/terms/failure.ts"
import { shownPath, shownText } from "../../base/terms/printable.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import type { SweepReport } from "../../upkeep/sweep/sweep.ts"
import type { Output } from "../terminal/output.ts"

/** Tells what a sweep found: nothing when there is nothing to say. `json`: its data was printed already. */
export function showSweep(report: SweepReport, json: boolean, output: Output): void {
  for (const vm of report.vms) showVm(vm, output)
  for (const leftover of report.leftovers) showLeftover(leftover, report.dry_run && !json, output)
  for (const directory of report.directories) showDirectory(directory, report.dry_run && !json, output)
  const { removed, errors } = report.totals
  const recovered = report.vms.some(({ is }) => is === "recovered")
  const cleared = report.leftovers.some(({ is }) => is === "removed")
  if (removed > 0 || recovered || cleared || errors > 0 || report.dry_run) output.log.info(summary(report))
}

/** 1 when something could not be done, 75 when another sweep was in a directory (0 with --quiet), else 0. */
export function exitOf({ totals, directories }: SweepReport, quiet: boolean): number {
  if (totals.errors > 0) return EXIT.failed
  const busy = directories.some(({ state }) => state === "busy")
  return busy && !quiet ? EXIT.tryLater : EXIT.ok
}

/** `14 sockets in 2 directories: 3 live, 8 removed, 3 spared (2 young, 1 lock)`. Pure. */
export function summary({ directories, totals, vms, leftovers, dry_run }: SweepReport): string {
  const spared = Object.entries(totals.spared).filter(([, count]) => count > 0)
  const all = spared.reduce((sum, [, count]) => sum + count, 0)
  const kinds = spared.map(([reason, count]) => `${count} ${reason}`).join(", ")
  const parts = [
    `${totals.live} live`,
    dry_run ? `${totals.stale} would be removed` : `${totals.removed} removed`,
    ...(all > 0 ? [`${all} spared (${kinds})`] : []),
    ...(totals.errors > 0 ? [counted(totals.errors, "error")] : []),
  ]
  const dead = vms.filter(({ is }) => is === "recovered" || is === "dead").length
  if (dead > 0) parts.push(`${counted(dead, "dead VM")} ${dry_run ? "would be recovered" : "recovered"}`)
  const nobodys = leftovers.filter(({ is }) => is === "removed" || is === "dead").length
  if (nobodys > 0) parts.push(`${counted(nobodys, "leftover")} ${dry_run ? "would be removed" : "removed"}`)
  const where = counted(directories.length, "director", "y", "ies")
  return `${counted(totals.examined, "socket")} in ${where}: ${parts.join(", ")}`
}

// --- internal ---

type DirectoryReport = SweepReport["directories"][number]

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

function showDirectory(directory: DirectoryReport, dryRun: boolean, { log, print }: Output): void {
  const { state, hint } = directory
  const [path, detail] = [shownPath(directory), shownText(directory.detail ?? "")]
  if (state === "busy") log.info(`${path} is not swept: ${detail}`)
  if (state === "refused" || state === "failed") {
    log.error(`${path} is not swept: ${detail}${hint === undefined ? "" : `\n${hint}`}`)
  }
  for (const socket of directory.sockets) {
    if (dryRun && socket.verdict === "stale") print(`${shownPath(socket)}: dead for ${age(socket.age_seconds)}`)
    const words = [socket.verdict, socket.reason, socket.detail].filter((word) => word !== undefined)
    log.debug(`${shownPath(socket)}: ${shownText(words.join(": "))}`)
  }
  if (dryRun && directory.removal === "re-checked" && directory.sockets.some(({ verdict }) => verdict === "stale")) {
    log.info(`${path}: ${detail}: a socket is looked at once more just before it is removed; ${hint}`)
  }
  showTroubles(directory, log)
}

/** One line for each kind of trouble, however many sockets have it. */
function showTroubles({ sockets }: DirectoryReport, log: Output["log"]): void {
  const troubled = sockets.filter(({ verdict, reason }) => verdict === "failed" || reason === "unknown")
  const kinds = Map.groupBy(troubled, ({ verdict, detail }) => `${verdict} ${detail}`)
  for (const [first, ...others] of kinds.values()) {
    if (first === undefined) continue
    const more = others.length === 0 ? "" : `, and ${others.length} more like it`
    const what = first.verdict === "failed" ? "is dead and could not be removed" : "is left alone: cannot tell"
    log.warn(`${shownPath(first)} ${what}: ${shownText(first.detail ?? "")}${more}`)
  }
}

function age(seconds = 0): string {
  return formatDuration(seconds * 1000)
}

function counted(count: number, word: string, one = "", many = "s"): string {
  return `${count} ${word}${count === 1 ? one : many}`
}
