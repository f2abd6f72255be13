import { join } from "node:path"
import { inOneChunk } from "./chunks.ts"

/** The repository's root. */
export const root = join(import.meta.dir, "..")

/** Every target by its binary's name, with Bun's name for it and the package that has Bun's own program for it. */
export const TARGETS = {
  "linux-x64": { bun: "bun-linux-x64", runtime: "bun-linux-x64" },
  "linux-x64-baseline": { bun: "bun-linux-x64-baseline", runtime: "bun-linux-x64-baseline" },
  "linux-arm64": { bun: "bun-linux-arm64", runtime: "bun-linux-aarch64" },
  "linux-x64-musl": { bun: "bun-linux-x64-musl", runtime: "bun-linux-x64-musl" },
  "linux-x64-baseline-musl": { bun: "bun-linux-x64-baseline-musl", runtime: "bun-linux-x64-musl-baseline" },
  "linux-arm64-musl": { bun: "bun-linux-arm64-musl", runtime: "bun-linux-aarch64-musl" },
} as const satisfies Readonly<Record<string, { bun: Bun.Build.CompileTarget; runtime: string }>>

/** The name of a target. */
export type Target = keyof typeof TARGETS

/** Tells whether a word names a target. */
export function isTarget(word: string): word is Target {
  return Object.hasOwn(TARGETS, word)
}

/** What a binary is built for. */
export interface Compilation {
  /** An absolute path. The binary's bytes depend on its last component, not on its directories. */
  readonly outfile: string
  /** Default: this machine's. */
  readonly target?: Target | undefined
  /** Bun's own program for the target. Default: Bun downloads one, and does not check it. */
  readonly runtime?: string | undefined
  /** Where releases are. `banger update` needs this and the public key. */
  readonly releases?: string | undefined
  /** The base64 of the raw Ed25519 key that signs releases. */
  readonly publicKey?: string | undefined
}

/** Builds one binary. The binary reads no .env, bunfig.toml, tsconfig.json or package.json of the directory where it runs. */
export async function compile({ outfile, target, runtime, releases, publicKey }: Compilation): Promise<void> {
  const sources: Bun.BuildConfig = {
    // The last two are threads of their own: no import leads to them.
    entrypoints: ["cli.ts", "src/supervisor/hooks/watchdogWorker.ts", "src/host/process/exitWorker.ts"].map((path) =>
      join(root, path),
    ),
    root,
    // So a command loads only what it imports, built-in modules included.
    splitting: true,
    format: "esm",
    target: "bun",
    define: {
      BANGER_COMMIT: JSON.stringify(commit()),
      BANGER_TARGET: JSON.stringify(target ?? hostTarget()),
      BANGER_DEFAULT_RELEASES: JSON.stringify(releases ?? ""),
      BANGER_PUBLIC_KEY: JSON.stringify(publicKey ?? ""),
    },
  }
  const { metafile } = await Bun.build({ ...sources, metafile: true })
  if (metafile === undefined) throw new Error("Bun has not told what the sources import")
  await Bun.build({
    ...sources,
    plugins: [inOneChunk(root, metafile, { boot: "src/cli/commands/run.ts", light: LIGHT })],
    bytecode: true,
    minify: { syntax: true, whitespace: true, identifiers: false },
    compile: {
      outfile,
      ...(target === undefined ? {} : { target: TARGETS[target].bun }),
      ...(runtime === undefined ? {} : { executablePath: runtime }),
      // Without any, Bun refuses to start where the working directory was removed. This one does nothing here.
      execArgv: ["--no-deprecation"],
      autoloadDotenv: false,
      autoloadBunfig: false,
      autoloadTsconfig: false,
      autoloadPackageJson: false,
    },
  })
}

/** The commit of the checkout, with `-dirty` when tracked files differ from it; `unknown` without git. */
export function commit(): string {
  const git = (...args: string[]) => Bun.spawnSync(["git", "-C", root, ...args], { stderr: "ignore" })
  if (Bun.which("git") === null) return "unknown"
  const head = git("rev-parse", "--short=12", "HEAD")
  if (!head.success) return "unknown"
  const dirty = !git("diff", "--quiet", "HEAD").success
  return `${head.stdout.toString().trim()}${dirty ? "-dirty" : ""}`
}

// --- internal ---

/** What every command loads, what is called often, what a thousand VMs have running, and the threads. */
const LIGHT = [
  "cli.ts",
  "src/cli/begin.ts",
  "src/cli/commands/ps.ts",
  "src/supervisor/rest/resting.ts",
  "src/supervisor/hooks/watchdogWorker.ts",
  "src/host/process/exitWorker.ts",
]

/** The build that runs on all processors of this machine's architecture. */
function hostTarget(): Target {
  return process.arch === "arm64" ? "linux-arm64" : "linux-x64-baseline"
}
