import { beforeAll } from "bun:test"
import { mkdirSync, writeFileSync } from "node:fs"
import { basename, join } from "node:path"
import { tinyGuest } from "../../tinyGuest.ts"
import { directoriesOfFile } from "./directories.ts"

const sources = join(import.meta.dir, "../../fixtures/firecracker")

/** A release of the doubles of Firecracker and its jailer, in a directory to put into PATH. */
export interface Doubles {
  readonly bin: string
  readonly env: Readonly<Record<string, string>>
}

/** How the doubles are built. */
export interface DoublesOptions {
  readonly version?: string
  /** Another than Firecracker's makes them of two releases. */
  readonly jailerVersion?: string
  /** For the compiler. */
  readonly flags?: readonly string[]
}

/** Builds both doubles, statically linked as the real ones are unless `flags` say otherwise. */
export function buildDoubles(
  dir: string,
  { version = "1.16.1", jailerVersion = version, flags = ["-static", "-O1"] }: DoublesOptions = {},
): Doubles {
  const bin = join(dir, "bin")
  mkdirSync(bin, { recursive: true, mode: 0o755 })
  for (const [name, of] of [
    ["firecracker", version],
    ["jailer", jailerVersion],
  ] as const) {
    compile(join(sources, `${name}.c`), join(bin, name), [...flags, "-w", `-DVERSION="${of}"`])
  }
  return { bin, env: { PATH: `${bin}:${process.env.PATH}` } }
}

/** Builds both for a file's tests; they go after its last one. Call it outside of them. */
export function doublesOfFile(): Doubles {
  const newDirectory = directoriesOfFile()
  const doubles: Doubles = { bin: "", env: {} }
  beforeAll(() => {
    Object.assign(doubles, buildDoubles(newDirectory()))
  })
  return doubles
}

/** Builds a C program of test/fixtures into a directory, statically linked; returns its path. */
export function buildFixture(name: string, dir: string): string {
  const program = join(dir, basename(name))
  compile(join(import.meta.dir, `../../fixtures/${name}.c`), program, ["-static", "-O2", "-Wall", "-Werror"])
  return program
}

/** A kernel file in a directory, whose guest does what the words say on the double and on the real Firecracker. */
export function kernelOf(dir: string, words = "", name = "vmlinux"): string {
  const path = join(dir, name)
  writeFileSync(path, tinyGuest(words), { mode: 0o644 })
  return path
}

// --- internal ---

function compile(source: string, program: string, flags: readonly string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(["cc", ...flags, "-o", program, source])
  if (exitCode !== 0) throw new Error(stderr.toString())
}
