import { expect, test } from "bun:test"
import { requireAdmitted } from "../../../src/operations/run/admission.ts"
import type { VmRecord } from "../../../src/store/state/records.ts"

const record = (name: string, state: string, owner?: number, restart_at: number | null = null) =>
  ({ name, state, restart_at, request: JSON.stringify(owner === undefined ? {} : { owner }) }) as VmRecord
const admitted = (records: readonly VmRecord[], name = "web", vmsMax = 2) => {
  try {
    requireAdmitted(records, name, { uid: 4242, vmsMax })
    return "admitted"
  } catch (error) {
    return (error as { code: string }).code
  }
}

for (const [what, records, code] of [
  ["nobody has", [], "admitted"],
  ["a VM of root's has", [record("web", "running")], "IN_USE"],
  ["a VM of root's had, which is still on record", [record("web", "stopped")], "IN_USE"],
  ["another user's VM had", [record("web", "stopped", 4243)], "admitted"],
  ["a VM of their own had", [record("web", "failed", 4242)], "admitted"],
  ["a VM of their own has, as one of two", [record("web", "running", 4242), record("a", "running", 4242)], "admitted"],
] as const)
  test(`a name that ${what}: ${code}`, () => expect(admitted(records)).toBe(code))

for (const [what, records, code] of [
  ["one", [record("a", "running", 4242)], "admitted"],
  ["two", [record("a", "running", 4242), record("b", "creating", 4242)], "BUSY"],
  ["one, and one that is booted again", [record("a", "running", 4242), record("b", "failed", 4242, 1)], "BUSY"],
  ["one twice, which is booted again", [record("a", "creating", 4242), record("a", "failed", 4242, 1)], "admitted"],
  ["some that have ended", [record("a", "stopped", 4242), record("b", "failed", 4242)], "admitted"],
  [
    "none, while others have many",
    [record("a", "running"), record("b", "running", 1), record("c", "running", 1)],
    "admitted",
  ],
] as const)
  test(`a user who may have two VMs and has ${what}: ${code}`, () => expect(admitted(records)).toBe(code))

test("a user who may have none has none", () => expect(admitted([], "web", 0)).toBe("BUSY"))
