import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { eachInItsPlace } from "./support/place.ts"

const place = eachInItsPlace()
const root = join(import.meta.dir, "../..")

test("what docs/testkit.md says to type works as printed", () => {
  const [, code = ""] = /^```sh\n(.*?)^```$/ms.exec(readFileSync(join(root, "docs/testkit.md"), "utf8")) ?? []
  const run = Bun.spawnSync(["sh", "-eu", "-c", code.replaceAll("scripts/testkit", `${root}/scripts/testkit`)], {
    cwd: place.dir,
    env: {
      ...{ PATH: `${root}/dist:${process.env.PATH}`, BANGER_STATE_DIR: place.state, BANGER_RUNTIME_DIR: place.runtime },
    },
  })
  expect(run.stdout.toString()).toContain("hello from the guest")
  expect(run.stderr.toString()).toContain("it ended: guest reset")
  expect(run.exitCode).toBe(0)
})

test("the kit is of the release it is told, and says how it is used", () => {
  const kit = (...args: string[]) => Bun.spawnSync([join(root, "scripts/testkit"), ...args], { cwd: place.dir })
  expect(kit("older", "", "1.13.2").exitCode).toBe(0)
  for (const [name, said] of [
    ["firecracker", "Firecracker v1.13.2\n"],
    ["jailer", "Jailer v1.13.2\n"],
  ] as const) {
    const { stdout } = Bun.spawnSync([join(place.dir, "older/bin", name), "--version"])
    expect(stdout.toString()).toStartWith(said)
  }
  expect(kit().exitCode).toBe(2)
  expect(kit("--help").stdout.toString()).toStartWith("usage: scripts/testkit DIRECTORY")
})
