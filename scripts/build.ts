import { mkdirSync } from "node:fs"
import { join } from "node:path"
import pkg from "../package.json" with { type: "json" }
import { commit, compile, isTarget, root, TARGETS, type Target } from "./compile.ts"

const USAGE = `usage: bun scripts/build.ts [TARGET… | all]

Without a target: dist/banger, for this machine. With targets: dist/banger-TARGET for each.
Targets: ${Object.keys(TARGETS).join(", ")}`

const asked = process.argv.slice(2)
const unknown = asked.find((name) => name !== "all" && !isTarget(name))
if (unknown !== undefined) {
  console.error(unknown === "--help" ? USAGE : `no target ${unknown}\n${USAGE}`)
  process.exit(unknown === "--help" ? 0 : 2)
}

mkdirSync(join(root, "dist"), { recursive: true })
if (asked.length === 0) await build("dist/banger", undefined)
const names = asked.includes("all") ? Object.keys(TARGETS) : asked
for (const name of names.filter(isTarget)) await build(`dist/banger-${name}`, name)

async function build(outfile: string, target: Target | undefined): Promise<void> {
  const started = performance.now()
  await compile({ outfile: join(root, outfile), target })
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`built ${outfile} (banger ${pkg.version}, ${commit()}) in ${seconds} s`)
}
