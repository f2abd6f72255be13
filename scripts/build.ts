import { mkdirSync } from "node:fs"
import { join } from "node:path"
import pkg from "../package.json" with { type: "json" }

/** Every target, by the name its binary bears. */
const TARGETS: Readonly<Record<string, Bun.Build.CompileTarget>> = {
  "linux-x64": "bun-linux-x64",
  "linux-x64-baseline": "bun-linux-x64-baseline",
  "linux-arm64": "bun-linux-arm64",
  "linux-x64-musl": "bun-linux-x64-musl",
  "linux-x64-baseline-musl": "bun-linux-x64-baseline-musl",
  "linux-arm64-musl": "bun-linux-arm64-musl",
}

const USAGE = `usage: bun scripts/build.ts [TARGET… | all]

Without a target: dist/banger, for this machine. With targets: dist/banger-TARGET for each.
Targets: ${Object.keys(TARGETS).join(", ")}`

const root = join(import.meta.dir, "..")
const asked = process.argv.slice(2)
const unknown = asked.find((name) => name !== "all" && TARGETS[name] === undefined)
if (unknown !== undefined) {
  console.error(unknown === "--help" ? USAGE : `no target ${unknown}\n${USAGE}`)
  process.exit(unknown === "--help" ? 0 : 2)
}

mkdirSync(join(root, "dist"), { recursive: true })
if (asked.length === 0) await build("dist/banger", undefined)
for (const name of asked.includes("all") ? Object.keys(TARGETS) : asked)
  await build(`dist/banger-${name}`, TARGETS[name])

/** Builds one binary. It reads no .env, bunfig.toml, tsconfig.json or package.json from where it is run. */
async function build(outfile: string, target: Bun.Build.CompileTarget | undefined): Promise<void> {
  const started = performance.now()
  await Bun.build({
    // All but the first are threads of their own, which no import leads to.
    entrypoints: ["cli.ts", "src/lifecycle/watchdogWorker.ts", "src/process/exitWorker.ts"].map((path) =>
      join(root, path),
    ),
    root,
    bytecode: true,
    // What a command does not import is not loaded, built-in modules included.
    splitting: true,
    format: "esm",
    minify: { syntax: true, whitespace: true, identifiers: false },
    define: { BANGER_COMMIT: JSON.stringify(commit()) },
    compile: {
      outfile: join(root, outfile),
      ...(target === undefined ? {} : { target }),
      autoloadDotenv: false,
      autoloadBunfig: false,
      autoloadTsconfig: false,
      autoloadPackageJson: false,
    },
  })
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`built ${outfile} (banger ${pkg.version}, ${commit()}) in ${seconds} s`)
}

/** The commit of the checkout, `-dirty` when tracked files differ from it; `unknown` where there is no git. */
function commit(): string {
  const git = (...args: string[]) => Bun.spawnSync(["git", "-C", root, ...args], { stderr: "ignore" })
  if (Bun.which("git") === null) return "unknown"
  const head = git("rev-parse", "--short=12", "HEAD")
  if (!head.success) return "unknown"
  const dirty = !git("diff", "--quiet", "HEAD").success
  return `${head.stdout.toString().trim()}${dirty ? "-dirty" : ""}`
}
