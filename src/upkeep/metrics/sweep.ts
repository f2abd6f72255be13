import { statSync } from "node:fs"
import { dirname } from "node:path"
import { chmodDescriptor } from "../../base/linux/access.ts"
import { O, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { readAll, writeAll } from "../../base/linux/content.ts"
import { openAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure } from "../../base/terms/failure.ts"
import { replaceFileBy } from "../../store/files/replaceFile.ts"
import { leftoverSchema } from "../leftovers/leftover.ts"
import type { SweepReport } from "../sweep/sweep.ts"

// This room tells numbers in the text format of Prometheus. Its rule: names of metrics never change, whatever JSON and code
// call the same thing.

/** When each value was measured, in seconds since 1970. */
interface Times {
  readonly now: number
  /** When the last sweep without an error ended; undefined: unknown. */
  readonly success: number | undefined
}

/** A sweep's numbers in the text format of Prometheus, for node_exporter's textfile collector. Pure. */
export function metricsText(
  { totals, durationSeconds, directories, vms, leftovers }: SweepReport,
  { now, success }: Times,
): string {
  const busy = directories.filter(({ is }) => is === "busy").length
  const reasons = Object.entries({ ...totals.kept, unknown: totals.unknown })
  const spared = reasons.map(([reason, count]) => [`{reason="${reason}"}`, count] as const)
  return [
    gauge("sockets_examined", "Sockets that the last sweep looked at.", totals.examined),
    gauge("sockets_live", "Sockets that something was bound to.", totals.alive),
    gauge("sockets_stale", "Sockets that nothing was bound to, removed or not.", totals.dead),
    gauge("sockets_removed", "Stale sockets that were removed.", totals.removed),
    metric("sockets_spared", "Sockets that were left alone, by reason.", spared),
    gauge("directories_busy", "Directories that another sweep was in.", busy),
    gauge("vms_recovered", "Dead VMs that were finished.", vms.filter(({ is }) => is === "recovered").length),
    metric("leftovers", "What no VM's record speaks for, by what became of it.", countedBy(leftovers)),
    gauge("errors", "What could not be done or told.", totals.errors),
    gauge("duration_seconds", "How long the last sweep took.", durationSeconds),
    gauge("last_run_timestamp_seconds", "When the last sweep ended.", now),
    ...(success === undefined
      ? []
      : [gauge("last_success_timestamp_seconds", "When the last sweep without errors ended.", success)]),
  ].join("")
}

/** Throws a failure when no metrics file can be written there: before anything is swept. */
export function checkMetricsPath(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() === false) {
    const hint = "name a file that is regular, or does not exist yet"
    throw new Failure("BAD_FILE", `--metrics ${path} is not a regular file`, { hint, subject: path })
  }
  const dir = dirname(path)
  if (statSync(dir, { throwIfNoEntry: false })?.isDirectory() === true) return
  const hint = `run: mkdir ${dir}`
  throw new Failure("BAD_FILE", `--metrics ${path}: there is no directory ${dir}`, { hint, subject: dir })
}

/** Replaces the metrics file whole, readable by all. After a sweep with errors it keeps the time of the last success. */
export function writeMetrics(path: string, report: SweepReport): void {
  const now = Date.now() / 1000
  const success = report.totals.errors === 0 ? now : lastSuccess(path)
  const text = metricsText(report, { now, success })
  replaceFileBy(path, (fd) => {
    writeAll(fd, new TextEncoder().encode(text))
    chmodDescriptor(fd, 0o644)
  })
}

// --- internal ---

const PREFIX = "banger_sweep_"

/** A larger file is not ours. */
const TEXTFILE_MAX_BYTES = 64 * 1024

function gauge(name: string, help: string, value: number): string {
  return metric(name, help, [["", value]])
}

function metric(name: string, help: string, values: readonly (readonly [string, number])[]): string {
  const lines = values.map(([labels, value]) => `${PREFIX}${name}${labels} ${value}\n`)
  return `# HELP ${PREFIX}${name} ${help}\n# TYPE ${PREFIX}${name} gauge\n${lines.join("")}`
}

function countedBy(leftovers: SweepReport["leftovers"]): readonly (readonly [string, number])[] {
  return leftoverSchema.entries.is.options.map(
    (is) => [`{is="${is}"}`, leftovers.filter((leftover) => leftover.is === is).length] as const,
  )
}

function lastSuccess(path: string): number | undefined {
  try {
    // Another user who may write in that directory could have put a FIFO there.
    const fd = openAt(AT_FDCWD, path, O.RDONLY | O_NOFOLLOW | O.NONBLOCK)
    const text = new TextDecoder().decode(withDescriptor(fd, () => readAll(fd, TEXTFILE_MAX_BYTES)))
    const [, value] = /^banger_sweep_last_success_timestamp_seconds (\S+)$/m.exec(text) ?? []
    return value !== undefined && Number.isFinite(Number(value)) ? Number(value) : undefined
  } catch {
    // No file yet, or none of ours: no success is known.
    return undefined
  }
}
