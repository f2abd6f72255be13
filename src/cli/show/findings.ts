import { type Checked, GRADES, type Grade } from "../../upkeep/doctor/finding.ts"

const COLORS: Readonly<Record<Grade, number>> = { ok: 32, warn: 33, fail: 31, unknown: 36 }

/** The findings as a table with what mends each below it, and the count of each grade. */
export function findingsText(found: readonly Checked[], quiet: boolean): string {
  const color = process.stdout.isTTY && !process.env.NO_COLOR
  const paint = (grade: Grade) => {
    const padded = grade.padEnd(7)
    return color ? `\x1b[${COLORS[grade]}m${padded}\x1b[0m` : padded
  }
  const width = Math.max(...found.map(({ id }) => id.length))
  const lines = found
    .filter(({ is }) => !quiet || is !== "ok")
    .flatMap(({ id, is, says, hint }) => [
      `${paint(is)}  ${id.padEnd(width)}  ${says.replaceAll("\n", " ")}`,
      ...(hint === undefined ? [] : [`${" ".repeat(width + 11)}→ ${hint.replaceAll("\n", " ")}`]),
    ])
  const counts = GRADES.map((grade) => [grade, found.filter(({ is }) => is === grade).length] as const)
  const summary = counts.filter(([, count]) => count > 0).map(([grade, count]) => `${count} ${grade}`)
  return [...lines, ...(quiet ? [] : ["", summary.join(", ")])].join("\n")
}
