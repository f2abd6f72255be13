import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const sources = join(import.meta.dir, "../fixtures/firecracker")

/** A release of the doubles of Firecracker and its jailer, in a directory to put into PATH. */
export interface Doubles {
  readonly bin: string
  readonly env: Readonly<Record<string, string>>
}

/** Builds both doubles, statically linked as the real ones are; `jailerVersion` makes them of two releases. */
export function buildDoubles(dir: string, version = "1.16.1", jailerVersion = version, linked = "-static"): Doubles {
  const bin = join(dir, "bin")
  mkdirSync(bin, { recursive: true, mode: 0o755 })
  for (const [name, of] of [
    ["firecracker", version],
    ["jailer", jailerVersion],
  ] as const) {
    const source = join(sources, `${name}.c`)
    const command = ["cc", linked, "-O1", "-w", `-DVERSION="${of}"`, "-o", join(bin, name), source]
    const { exitCode, stderr } = Bun.spawnSync(command)
    if (exitCode !== 0) throw new Error(stderr.toString())
  }
  return { bin, env: { PATH: `${bin}:${process.env.PATH}` } }
}

/** A kernel file for the doubles: the head of an ELF program, and what its guest does. */
export function kernelOf(dir: string, script = ""): string {
  const path = join(dir, "vmlinux")
  writeFileSync(path, `\x7fELF${"\0".repeat(60)}${script}`, { mode: 0o644, encoding: "latin1" })
  return path
}
