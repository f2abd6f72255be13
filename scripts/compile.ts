import { join } from "node:path"

/** The repository's root. */
export const root = join(import.meta.dir, "..")

/** Every target, by the name its binary bears: how Bun calls it, and the package that has Bun's own program for it. */
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
  /** Absolute. Its last component is part of what the binary's bytes depend on, the directories are not. */
  readonly outfile: string
  /** This machine unless told. */
  readonly target?: Target | undefined
  /** Bun's own program for the target; Bun downloads one, and does not check it, unless told. */
  readonly runtime?: string | undefined
  /** Where releases are, and the base64 of the raw Ed25519 key that signs them; `banger update` needs both. */
  readonly releases?: string | undefined
  readonly publicKey?: string | undefined
}

/** Builds one binary. It reads no .env, bunfig.toml, tsconfig.json or package.json from where it is run. */
export async function compile({ outfile, target, runtime, releases, publicKey }: Compilation): Promise<void> {
  await Bun.build({
    // All but the first are threads of their own, which no import leads to.
    entrypoints: ["cli.ts", "src/supervisor/hooks/watchdogWorker.ts", "src/host/process/exitWorker.ts"].map((path) =>
      join(root, path),
    ),
    root,
    bytecode: true,
    // What a command does not import is not loaded, built-in modules included.
    splitting: true,
    format: "esm",
    minify: { syntax: true, whitespace: true, identifiers: false },
    define: {
      BANGER_COMMIT: JSON.stringify(commit()),
      BANGER_TARGET: JSON.stringify(target ?? hostTarget()),
      BANGER_DEFAULT_RELEASES: JSON.stringify(releases ?? ""),
      BANGER_PUBLIC_KEY: JSON.stringify(publicKey ?? ""),
    },
    compile: {
      outfile,
      ...(target === undefined ? {} : { target: TARGETS[target].bun }),
      ...(runtime === undefined ? {} : { executablePath: runtime }),
      autoloadDotenv: false,
      autoloadBunfig: false,
      autoloadTsconfig: false,
      autoloadPackageJson: false,
    },
  })
}

/** The commit of the checkout, `-dirty` when tracked files differ from it; `unknown` where there is no git. */
export function commit(): string {
  const git = (...args: string[]) => Bun.spawnSync(["git", "-C", root, ...args], { stderr: "ignore" })
  if (Bun.which("git") === null) return "unknown"
  const head = git("rev-parse", "--short=12", "HEAD")
  if (!head.success) return "unknown"
  const dirty = !git("diff", "--quiet", "HEAD").success
  return `${head.stdout.toString().trim()}${dirty ? "-dirty" : ""}`
}

// --- internal ---

/** The build for all processors of this machine's kind. */
function hostTarget(): Target {
  return process.arch === "arm64" ? "linux-arm64" : "linux-x64-baseline"
}
