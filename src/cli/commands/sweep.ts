import { failureJson, usageError } from "../../base/terms/failure.ts"
import { jsonText } from "../../base/terms/message.ts"
import { ownPlaces } from "../../store/state/open.ts"
import { checkMetricsPath, writeMetrics } from "../../upkeep/metrics/sweep.ts"
import { keepRemoved, removedLines } from "../../upkeep/sweep/removedLog.ts"
import { type SweepReport, sweep } from "../../upkeep/sweep/sweep.ts"
import { failureOf, showSweep } from "../show/sweep.ts"
import { command } from "../terminal/command.ts"
import { durationOf } from "../terminal/duration.ts"
import { takeConsole } from "../terminal/takeConsole.ts"

export default command({
  meta: { name: "sweep", description: "Remove sockets that nothing is bound to, and never any other; made for cron" },
  args: {
    dir: {
      type: "positional",
      required: false,
      description: "A directory of sockets, and more of them; without one: banger's own, and its dead VMs",
    },
    "dry-run": { type: "boolean", description: "Tell what would be removed, and how; change nothing" },
    json: { type: "boolean", description: "Print what became of each socket as JSON" },
    grace: {
      type: "string",
      valueHint: "TIME",
      default: "60s",
      description: "Leave alone what was made or changed in this time",
    },
    confirm: {
      type: "string",
      valueHint: "N",
      default: "2",
      description: "How many times a socket must be found dead",
    },
    "confirm-delay": {
      type: "string",
      valueHint: "TIME",
      default: "500ms",
      description: "The time between two of these looks",
    },
    depth: {
      type: "string",
      valueHint: "N",
      default: "1",
      description: "How many levels of subdirectories are swept too",
    },
    plugin: { type: "string", valueHint: "FILE", description: "Ask the sweepCandidate hooks of this plugin first" },
    metrics: {
      type: "string",
      valueHint: "FILE",
      description: "Write the numbers for node_exporter's textfile collector",
    },
  },
  takesMany: true,
  async run({ dir, metrics, json: asked, ...values }, { more, output }) {
    const json = asked === true
    const options = {
      dirs: dir === undefined ? [] : [dir, ...more],
      dryRun: values["dry-run"] === true,
      grace: durationOf("--grace", values.grace, TIMES),
      confirm: wholeNumber("--confirm", values.confirm, { least: 1, most: 100 }),
      confirmDelay: durationOf("--confirm-delay", values["confirm-delay"], TIMES),
      depth: wholeNumber("--depth", values.depth, { least: 0, most: 16 }),
      plugin: values.plugin,
      all: json || values.verbose === true,
      log: output.log,
    }
    takeConsole(output, json)
    if (options.dirs.includes("")) throw usageError("DIR is empty", { hint: "name a directory", subject: "DIR" })
    if (metrics !== undefined) checkMetricsPath(metrics)
    const report: SweepReport = await sweep(options)
    const removed = removedLines(report)
    if (!options.dryRun) keepRemoved(ownPlaces().state, removed)
    for (const line of json ? [] : removed) output.log.info(`removed ${line}`)
    const failure = failureOf(report, values.quiet === true)
    if (json) output.print(jsonText({ ...report, ...(failure && failureJson(failure)) } satisfies SweepReport, 2))
    showSweep(report, json, output)
    if (metrics !== undefined) writeMetrics(metrics, report)
    return failure
  },
})

// --- internal ---

/** The longest time that makes sense: a year. */
const TIMES = { mostMs: 366 * 24 * 3_600_000, zero: true }

function wholeNumber(option: string, text: string, { least, most }: { readonly least: number; readonly most: number }) {
  const number = /^\d{1,4}$/.test(text) ? Number(text) : Number.NaN
  if (number >= least && number <= most) return number
  throw usageError(`${option} ${text} is not a whole number from ${least} to ${most}`, { subject: option })
}
