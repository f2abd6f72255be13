import { expect, test } from "bun:test"
import { eachOnHost, GIVEN, must, run } from "./support/host.ts"

eachOnHost()

test("a user who may sudo installs banger, and doctor finds all that a host needs", async () => {
  const alice = { user: "alice" } as const
  await must(`sudo install -m 755 ${GIVEN}/dist/banger /usr/local/bin/banger`, alice)
  expect(await must("banger --version", alice)).toMatch(/^banger \d+\.\d+\.\d+ /)
  const { stdout, exit } = await run("sudo banger doctor --json", alice)
  const { checks } = JSON.parse(stdout) as { checks: readonly { id: string; is: string }[] }
  const of = (status: string) => checks.filter(({ is }) => is === status).map(({ id }) => id)
  expect({ failed: of("fail"), unknown: of("unknown"), exit }).toEqual({ failed: [], unknown: [], exit: 0 })
  // What the machine of the other tiers may lack.
  expect(of("ok")).toEqual(expect.arrayContaining(["kvm", "cgroups", "tun", "nft", "sysctls", "directories"]))
})

test("without sudo doctor says what that gives up, and fails nothing", async () => {
  const { stdout, exit } = await run("banger doctor", { user: "alice" })
  expect(stdout).toMatch(/^\w+ +user +/m)
  expect(stdout).not.toMatch(/^fail/m)
  expect(exit).toBe(0)
})
