// The double that the contract is held against, built from test/fixtures for a release.
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { NEWEST, type Programs } from "../real.ts"

/** Every release that banger takes; the answers are recorded for the newest. */
export const RELEASES = ["1.5.1", "1.7.0", "1.10.1", "1.13.1", "1.14.1", "1.15.1", NEWEST]

/** The minor number of a release: 16 of 1.16.1. */
export const minorOf = (release: string): number => Number(release.split(".")[1])

/** Builds the doubles of a release into a directory; needs a C compiler. */
export function buildDouble(dir: string, release: string): Programs {
  const bin = join(dir, `double-${release}`)
  mkdirSync(bin, { recursive: true })
  for (const program of ["firecracker", "jailer"]) {
    const source = join(import.meta.dir, `../fixtures/firecracker/${program}.c`)
    const words = ["cc", "-static", "-O1", "-w", `-DVERSION="${release}"`, "-o", join(bin, program), source]
    const { exitCode, stderr } = Bun.spawnSync(words)
    if (exitCode !== 0) throw new Error(stderr.toString())
  }
  return { release, real: false, firecracker: join(bin, "firecracker"), jailer: join(bin, "jailer") }
}
