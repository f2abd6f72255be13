import { expect, test } from "bun:test"
import { Failure } from "../../src/base/terms/failure.ts"
import { recoveryOf } from "../../src/supervisor/recover.ts"

test("only a VM that another banger has locked is busy: a lock or database that is stuck has failed", () => {
  expect(recoveryOf("web-1", undefined)).toBe("recovered")
  expect(recoveryOf("web-1", new Failure("BUSY", "another banger is at web-1", { subject: "web-1" }))).toBe("busy")
  const stuck = new Failure("BUSY", "another process does not let go", { subject: "/var/lib/banger/state.lock" })
  expect(() => recoveryOf("web-1", stuck)).toThrow(stuck)
})
