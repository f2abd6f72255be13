import { type Benchmark, compare, type Result } from "./compare.ts"
import { apiConfiguration, firecracker, firstRequest } from "./firecracker.ts"
import { jail, jailAgainstC, jailsInParallel } from "./jail.ts"
import { network, networkBatch, networkDelete } from "./network.ts"
import run from "./run.ts"
import { ps, recover } from "./state.ts"
import { sweep, sweepAgainstC, sweepGrowth } from "./sweep.ts"
import { type Table, type TableResult, tableText, tabulate } from "./table.ts"
import version from "./version.ts"

const BENCHMARKS: Readonly<Record<string, () => Benchmark | Table>> = {
  version,
  run,
  firecracker,
  "firecracker-first": firstRequest,
  "firecracker-api": apiConfiguration,
  jail,
  "jail-c": () => jailAgainstC(1),
  "jail-c-10": () => jailAgainstC(10),
  "jail-c-100": () => jailAgainstC(100),
  "jail-parallel": jailsInParallel,
  ps,
  "recover-50": () => recover(50, 10),
  "recover-200": () => recover(200, 50),
  sweep,
  "sweep-c": sweepAgainstC,
  "sweep-growth": sweepGrowth,
  network,
  "network-batch": networkBatch,
  "network-delete": networkDelete,
}

const words = process.argv.slice(2)
const json = words.includes("--json")
const names = words.filter((word) => word !== "--json")
const unknown = names.find((name) => BENCHMARKS[name] === undefined)
if (unknown !== undefined) {
  console.error(`no benchmark ${unknown}; there are: ${Object.keys(BENCHMARKS).join(", ")}`)
  process.exit(2)
}

const results: (Result | TableResult)[] = []
for (const [name, make] of Object.entries(BENCHMARKS)) {
  if (names.length > 0 && !names.includes(name)) continue
  if (/^(?:jail|network|sweep)/.test(name) && process.geteuid?.() !== 0) {
    console.error(`${name} is skipped: it measures what only root does`)
    continue
  }
  const benchmark = make()
  try {
    if ("contenders" in benchmark) {
      const table = await tabulate(benchmark)
      results.push(table)
      if (!json) console.log(`${tableText(table)}\n  ${benchmark.about}`)
      continue
    }
    const result = await compare(benchmark)
    results.push(result)
    const note = benchmark.note === undefined ? "" : `\n  ${benchmark.note()}`
    if (!json) console.log(`${row(result)}\n  ${benchmark.about}${note}`)
  } finally {
    benchmark.dispose?.()
  }
}
if (json) console.log(JSON.stringify(results, null, 2))

function row({ name, ours_ms, reference_ms, ratio, reference }: Result): string {
  const difference = (ours_ms - reference_ms).toFixed(1)
  return `${name}: ${ours_ms} ms, ${reference} ${reference_ms} ms, difference ${difference} ms, ratio ${ratio}`
}
