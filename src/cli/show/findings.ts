import type { Checked, Verdict } from "../../upkeep/doctor/finding.ts"

const ORDER: readonly Verdict[] = ["fail", "warn", "unknown", "ok"]
const COLORS: Readonly<Record<Verdict, number>> = { ok: 32, warn: 33, fail: 31, unknown: 36 }

/** The findings as `doctor --json` prints them: `verdict` is the worst one. */
export function findingsJson(found: readonly Checked[]): string {
  const verdict = ORDER.find((each) => found.some((one) => one.verdict === each)) ?? "ok"
  const checks = found.map(({ id, verdict, says, mend }) => ({ id, verdict, says, mend: mend ?? null }))
  return JSON.stringify({ verdict, checks }, null, 2)
}

/** The findings as a table with what mends each below it, and the count of each verdict. */
export function findingsText(found: readonly Checked[], quiet: boolean): string {
  const color = process.stdout.isTTY && !process.env.NO_COLOR
  const paint = (verdict: Verdict) => {
    const padded = verdict.padEnd(7)
    return color ? `\x1b[${COLORS[verdict]}m${padded}\x1b[0m` : padded
  }
  const width = Math.max(...found.map(({ id }) => id.length))
  const lines = found
    .filter(({ verdict }) => !quiet || verdict !== "ok")
    .flatMap(({ id, verdict, says, mend }) => [
      `${paint(verdict)}  ${id.padEnd(width)}  ${says.replaceAll("\n", " ")}`,
      ...(mend === undefined ? [] : [`${" ".repeat(width + 11)}→ ${mend.replaceAll("\n", " ")}`]),
    ])
  const counts = ORDER.map((each) => [each, found.filter(({ verdict }) => verdict === each).length] as const)
  const summary = counts.filter(([, count]) => count > 0).map(([verdict, count]) => `${count} ${verdict}`)
  return [...lines, ...(quiet ? [] : ["", summary.join(", ")])].join("\n")
}
