/** One thing to time: a name for the table, and the work. */
export interface Contender {
  readonly label: string
  /** Runs before each run, as `finish` does after it; neither is timed. */
  prepare?(): void | Promise<void>
  /** When it resolves to a number, these milliseconds count instead of the time that it took. */
  run(): Promise<unknown>
  finish?(): Promise<void>
}

/** Two contenders for one job. */
export interface Benchmark {
  readonly name: string
  /** What is compared, and what the aim is; printed with the table. */
  readonly about: string
  readonly rounds: number
  readonly ours: Contender
  readonly reference: Contender
  /** Whether the first round counts: for contenders that take minutes. */
  readonly cold?: boolean
  /** What else was measured; printed at the end. */
  readonly note?: () => string
  readonly dispose?: () => void
}

/** What `--json` prints of a benchmark: medians in milliseconds; ratio = reference / ours: above 1, ours is faster. */
export interface Result {
  readonly name: string
  readonly ours_ms: number
  readonly reference_ms: number
  readonly ratio: number
  readonly reference: string
}

/** Times the two in turn (A B A B …). Unless it is `cold`, one round of each comes first and does not count. */
export async function compare({ name, rounds, ours, reference, cold }: Benchmark): Promise<Result> {
  const times = { ours: [] as number[], reference: [] as number[] }
  for (let round = cold ? 1 : 0; round <= rounds; round++) {
    const a = await timed(ours)
    const b = await timed(reference)
    if (round === 0) continue
    times.ours.push(a)
    times.reference.push(b)
  }
  const oursMs = median(times.ours)
  const referenceMs = median(times.reference)
  return {
    name,
    ours_ms: round2(oursMs),
    reference_ms: round2(referenceMs),
    ratio: round2(referenceMs / oursMs),
    reference: reference.label,
  }
}

/** The middle value, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const upper = sorted[Math.floor(middle)] ?? Number.NaN
  return Number.isInteger(middle) ? ((sorted[middle - 1] ?? Number.NaN) + upper) / 2 : upper
}

/** A contender that runs a command to its end. When the command fails, so does the benchmark. */
export function command(
  label: string,
  argv: readonly string[],
  env: Record<string, string | undefined> = process.env,
): Contender {
  return {
    label,
    async run() {
      const child = Bun.spawn([...argv], { stdin: "ignore", stdout: "ignore", stderr: "pipe", env })
      if ((await child.exited) !== 0) throw new Error(`${argv.join(" ")} failed: ${await child.stderr.text()}`)
    },
  }
}

/** How long one run takes, in milliseconds. */
export async function timed(contender: Contender): Promise<number> {
  await contender.prepare?.()
  const start = performance.now()
  const measured = await contender.run()
  const time = performance.now() - start
  await contender.finish?.()
  return typeof measured === "number" ? measured : time
}

// --- internal ---

function round2(value: number): number {
  return Math.round(value * 100) / 100
}
