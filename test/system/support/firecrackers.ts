import { beforeAll, beforeEach, type Test, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { GUESTS } from "../../contract/guests.ts"
import { findReal } from "../../real.ts"
import { directoriesOfFile } from "./directories.ts"
import { buildDoubles } from "./doubles.ts"

/** A Firecracker and its jailer to run tests on. */
export interface Firecracker {
  readonly name: string
  readonly real: boolean
  /** The directory of both programs. */
  readonly bin: string
  /** With both programs first in PATH. */
  readonly env: Readonly<Record<string, string>>
  /** `test`, or what leaves a test out where they are not there. */
  readonly test: Test<[]>
}

/** The double, and the real one, which is left out where it cannot run and says why. Call it outside of a file's tests. */
export function firecrackersOfFile(): readonly Firecracker[] {
  const newDirectory = directoriesOfFile()
  const double = { name: "the double", real: false, bin: "", env: {}, test }
  beforeAll(() => {
    Object.assign(double, buildDoubles(newDirectory()))
  })
  const found = findReal()
  if (typeof found === "string") console.log(`the real Firecracker is left out: ${found}`)
  const { bin, env } = typeof found === "string" ? { bin: "", env: {} } : found
  return [double, { name: "the real one", real: true, bin, env, test: test.skipIf(typeof found === "string") }]
}

/** The Firecracker that a test runs on, and how tests run on each that is there. */
export interface OnBoth {
  /** The one of the test that runs now: in those that are not of both, the double. */
  readonly firecracker: Pick<Firecracker, "bin" | "env" | "real">
  /** Makes a test for the double, and one for the real Firecracker, which is left out where that cannot run. */
  readonly onBoth: (name: string, body: () => Promise<void>, timeoutMs?: number) => void
}

/** Has a file's tests run on the double and on the real Firecracker. Call it outside of them. */
export function onEachFirecracker(): OnBoth {
  const all = firecrackersOfFile()
  const firecracker = { bin: "", env: {}, real: false }
  // Not before the double is built.
  const take = ({ bin, env, real }: Firecracker) => Object.assign(firecracker, { bin, env, real })
  beforeEach(() => void all.slice(0, 1).map(take))
  return {
    firecracker,
    onBoth(name, body, timeoutMs) {
      for (const one of all) {
        const run = () => {
          take(one)
          return body()
        }
        one.test(`${name} (on ${one.name})`, run, timeoutMs)
      }
    },
  }
}

/** The file of a guest that runs on both: it says BANGER-GUEST-UP, and resets on Ctrl-Alt-Del. */
export function pollingGuest(dir: string, guest: "kernel" | "counter" = "kernel"): string {
  const path = join(dir, "vmlinux")
  writeFileSync(path, GUESTS[guest] ?? "", { mode: 0o644 })
  return path
}
