// Which Firecracker the contract is held against: the double, built from test/fixtures for a release, and the real one
// where it and a usable /dev/kvm are there.
import { accessSync, constants, mkdirSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"

/** The release whose answers are recorded, and every release that banger takes (minor numbers). */
export const NEWEST = "1.16.1"
export const RELEASES = ["1.5.1", "1.7.0", "1.10.1", "1.13.1", "1.14.1", "1.15.1", NEWEST]

/** The two programs of one release. */
export interface Programs {
  readonly release: string
  readonly real: boolean
  readonly firecracker: string
  readonly jailer: string
}

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

/** The real programs; or why they are not tried. They are looked for where BANGER_TEST_FIRECRACKER says. */
export function findReal(): Programs | string {
  const dir = process.env.BANGER_TEST_FIRECRACKER ?? join(homedir(), ".cache/banger-test/firecracker")
  const [firecracker, jailer] = [join(dir, "firecracker"), join(dir, "jailer")]
  for (const [path, mode] of [
    [firecracker, constants.X_OK],
    [jailer, constants.X_OK],
    ["/dev/kvm", constants.R_OK | constants.W_OK],
  ] as const) {
    try {
      accessSync(path, mode)
    } catch {
      return `${path} is not there or cannot be used`
    }
  }
  const said = Bun.spawnSync([firecracker, "--version"], { timeout: 5000 }).stdout.toString().split("\n")[0]
  if (said !== `Firecracker v${NEWEST}`) return `${firecracker} is ${said}, and the table is of v${NEWEST}`
  return { release: NEWEST, real: true, firecracker, jailer }
}
