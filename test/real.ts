// The real Firecracker and its jailer, for tests of every tier. They are in the directory that BANGER_TEST_FIRECRACKER names,
// else in ~/.cache/banger-test/firecracker, and never in the PATH that a test was started with.
//
//   describeReal("snapshots", (real) => {      // prints why, where the real one cannot run
//     test("…", () => start(place, ["run", …], real.env))
//   })
//
// or, where a test runs on both:
//
//   test.each(pairs(doubles))("… on the %s", (_, { env }) => …)
//
// What boots on both are the guests of contract/guests.ts: where KVM here boots no stock kernel, they are all that boots.
import { describe } from "bun:test"
import { accessSync, closeSync, constants, openSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"

/** The release that the tests know. */
export const NEWEST = "1.16.1"

/** The two programs of one release. */
export interface Programs {
  readonly release: string
  readonly real: boolean
  readonly firecracker: string
  readonly jailer: string
}

/** The real ones, with what puts them into a banger's PATH. */
export interface Real extends Programs {
  readonly bin: string
  readonly env: Readonly<Record<string, string>>
}

/** A pair of programs, double or real: put `env` into a banger's environment. */
export type Pair = Pick<Real, "bin" | "env">

/** The real programs, where they and a usable /dev/kvm are there; else why they are not tried. Root is the caller's to ask for. */
export function findReal(): Real | string {
  if (process.env.BANGER_TEST_QUICK === "yes") return "--quick leaves it out"
  const bin = process.env.BANGER_TEST_FIRECRACKER ?? join(homedir(), ".cache/banger-test/firecracker")
  const [firecracker, jailer] = [join(bin, "firecracker"), join(bin, "jailer")]
  for (const path of [firecracker, jailer]) {
    if (!succeeds(() => accessSync(path, constants.X_OK))) return `${path} is not there or cannot be run`
  }
  if (!succeeds(() => closeSync(openSync("/dev/kvm", "r+")))) return "/dev/kvm is not there or cannot be opened"
  const said = Bun.spawnSync([firecracker, "--version"], { timeout: 5000 }).stdout.toString().split("\n")[0]
  if (said !== `Firecracker v${NEWEST}`) return `${firecracker} is ${said}, and the tests are for v${NEWEST}`
  return { release: NEWEST, real: true, firecracker, jailer, bin, env: { PATH: `${bin}:${process.env.PATH}` } }
}

/** Tests on the real Firecracker: made where it can run, which prints so; else one line says why they are left out. */
export function describeReal(what: string, tests: (real: Real) => void): void {
  const real = findReal()
  console.log(
    `${what}: ${typeof real === "string" ? `not on the real Firecracker: ${real}` : `on ${real.firecracker}`}`,
  )
  if (typeof real === "string") describe.skip(`${what} (real)`, () => {})
  else describe(`${what} (real)`, () => tests(real))
}

/** The doubles and, where it can run, the real pair: for `test.each`. Prints which. */
export function pairs(doubles: Pair): readonly (readonly [name: "double" | "real", pair: Pair])[] {
  const real = findReal()
  console.log(typeof real === "string" ? `on the double only: ${real}` : `on the double and on ${real.firecracker}`)
  return typeof real === "string"
    ? [["double", doubles]]
    : [
        ["double", doubles],
        ["real", real],
      ]
}

if (import.meta.main) {
  // For scripts/test: its line on this tier.
  const real = findReal()
  console.log(`tier real Firecracker: ${typeof real === "string" ? `left out: ${real}` : `on ${real.bin}`}`)
}

// --- internal ---

function succeeds(work: () => void): boolean {
  try {
    work()
    return true
  } catch {
    return false
  }
}
