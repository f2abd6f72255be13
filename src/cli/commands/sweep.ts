import { usageError } from "../../base/terms/failure.ts"
import { parseDuration } from "../../base/terms/quantity.ts"
import { checkMetricsPath, writeMetrics } from "../../upkeep/metrics/sweep.ts"
import { type SweepReport, sweep } from "../../upkeep/sweep/sweep.ts"
import { exitOf, showSweep } from "../show/sweep.ts"
import { type Command, type Invocation, text } from "../terminal/command.ts"
import { takeConsole } from "../terminal/takeConsole.ts"

const command: Command = {
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
      description: "Leave alone what was made or changed in this time (60s unless told)",
    },
    confirm: { type: "string", valueHint: "N", description: "How many times a socket must be found dead (2)" },
    "confirm-delay": { type: "string", valueHint: "TIME", description: "The time between two of them (500ms)" },
    depth: { type: "string", valueHint: "N", description: "How many levels of subdirectories are swept too (1)" },
    plugin: { type: "string", valueHint: "FILE", description: "Ask the sweepCandidate hooks of this plugin first" },
    metrics: {
      type: "string",
      valueHint: "FILE",
      description: "Write the numbers for node_exporter's textfile collector",
    },
  },
  takesMany: true,
  async run({ values, more, output }) {
    const first = text(values, "dir")
    const metrics = text(values, "metrics")
    const json = values.json === true
    const options = {
      dirs: first === undefined ? [] : [first, ...more],
      dryRun: values["dry-run"] === true,
      grace: time(values, "grace", 60_000),
      confirm: wholeNumber(values, "confirm", 2, { least: 1, most: 100 }),
      confirmDelay: time(values, "confirm-delay", 500),
      depth: wholeNumber(values, "depth", 1, { least: 0, most: 16 }),
      plugin: text(values, "plugin"),
      all: json || values.verbose === true,
      log: output.log,
    }
    takeConsole(output, json)
    if (options.dirs.includes("")) throw usageError("DIR is empty", "name a directory")
    if (metrics !== undefined) checkMetricsPath(metrics)
    const report: SweepReport = await sweep(options)
    if (json) output.print(JSON.stringify(report, null, 2))
    showSweep(report, json, output)
    if (metrics !== undefined) writeMetrics(metrics, report)
    return exitOf(report, values.quiet === true)
  },
}
export default command

// --- internal ---

/** The longest time that makes sense: a year. */
const LONGEST_MS = 366 * 24 * 3_600_000

function time(values: Invocation["values"], name: string, otherwise: number): number {
  const given = text(values, name)
  if (given === undefined) return otherwise
  const parsed = parseDuration(given)
  if (parsed !== undefined && parsed <= LONGEST_MS) return parsed
  throw usageError(`--${name} ${given} is no time`, "give at most 366d, with its unit: 500ms, 60s, 10m, 2h")
}

function wholeNumber(
  values: Invocation["values"],
  name: string,
  otherwise: number,
  { least, most }: { readonly least: number; readonly most: number },
): number {
  const given = text(values, name)
  if (given === undefined) return otherwise
  const number = /^\d{1,4}$/.test(given) ? Number(given) : Number.NaN
  if (number >= least && number <= most) return number
  throw usageError(`--${name} ${given} is not a whole number from ${least} to ${most}`)
}
