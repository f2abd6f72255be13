import { type Contender, median, timed } from "./compare.ts"

/** Several ways to do one job, timed in turn. */
export interface Table {
  readonly name: string
  /** What is compared, and what the aim is; printed with the table. */
  readonly about: string
  readonly rounds: number
  readonly contenders: readonly Contender[]
  /** The label of the contender that the others are held against. */
  readonly against: string
  readonly dispose: () => void
}

/** A line of the table: a median and the quartiles in milliseconds; `ratio` is the median's to that of `against`: lower is faster. */
export interface Line {
  readonly label: string
  readonly ms: number
  readonly quartiles: readonly [number, number]
  readonly ratio: number
}

/** What `--json` prints of a table. */
export interface TableResult {
  readonly name: string
  readonly against: string
  readonly lines: readonly Line[]
}

/** Times all contenders in each round (A B C A B C …); one round comes first and does not count. */
export async function tabulate({ name, rounds, contenders, against }: Table): Promise<TableResult> {
  const times = new Map(contenders.map(({ label }) => [label, [] as number[]]))
  for (let round = 0; round <= rounds; round++)
    for (const contender of contenders) {
      const time = await timed(contender)
      if (round > 0) times.get(contender.label)?.push(time)
    }
  const reference = median(times.get(against) ?? [])
  const lines = [...times].map(([label, each]) => {
    const ms = median(each)
    return { label, ms: round2(ms), quartiles: quartiles(each), ratio: round2(ms / reference) }
  })
  return { name, against, lines }
}

/** The table as text. */
export function tableText({ name, lines, against }: TableResult): string {
  const rows = lines.map(({ label, ms, quartiles: [low, high], ratio }) => [
    label,
    ...[ms.toFixed(1), `${low.toFixed(1)}–${high.toFixed(1)}`, ratio.toFixed(2)],
  ])
  const all = [[name, "median ms", "quartiles", `/ ${against}`], ...rows]
  const widths = all[0]?.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0))) ?? []
  return all.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")).join("\n")
}

// --- internal ---

function quartiles(values: readonly number[]): [number, number] {
  const sorted = values.toSorted((a, b) => a - b)
  const half = Math.ceil(sorted.length / 2)
  return [round2(median(sorted.slice(0, half))), round2(median(sorted.slice(-half)))]
}

function round2(value: number): number {
  return Math.round(value * 100) / 100
}
