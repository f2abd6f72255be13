import { beforeAll, type Test, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { GUESTS } from "../../contract/guests.ts"
import { findReal } from "../../real.ts"
import { directoriesOfFile } from "./directories.ts"
import { buildDoubles } from "./doubles.ts"

/** A Firecracker and its jailer to run tests on. */
export interface Firecracker {
  readonly name: string
  readonly real: boolean
  /** With both programs first in PATH. */
  readonly env: Record<string, string>
  /** `test`, or what leaves a test out where they are not there. */
  readonly test: Test<[]>
}

/** The double, and the real one, which is left out where it cannot run and says why. Call it outside of a file's tests. */
export function firecrackersOfFile(): readonly Firecracker[] {
  const newDirectory = directoriesOfFile()
  const double = { name: "the double", real: false, env: {}, test }
  beforeAll(() => {
    Object.assign(double.env, buildDoubles(newDirectory()).env)
  })
  const found = findReal()
  if (typeof found === "string") console.log(`the real Firecracker is left out: ${found}`)
  const env = typeof found === "string" ? {} : { PATH: `${dirname(found.firecracker)}:${process.env.PATH}` }
  return [double, { name: "the real one", real: true, env, test: test.skipIf(typeof found === "string") }]
}

/** The file of a guest that runs on both: it says BANGER-GUEST-UP, and resets on Ctrl-Alt-Del. */
export function pollingGuest(dir: string, guest: "kernel" | "counter" = "kernel"): string {
  const path = join(dir, "vmlinux")
  writeFileSync(path, GUESTS[guest] ?? "", { mode: 0o644 })
  return path
}
