import { expect, test } from "bun:test"
import { requireBelowLimit, setLimits } from "../../../src/supervisor/changes/setLimits.ts"
import { failure } from "../../failure.ts"

const vm = { id: "web-1", name: "web", resources: [], pid: process.pid }
const MIB_BYTES = 1024 * 1024

test("a VM without a cgroup has no limits to change, and a cgroup that is not its own is left alone", () => {
  expect(() => setLimits(vm, { cpus: 1 })).toThrow(failure("UNSUPPORTED", "limits: web has no cgroup"))
  const other = { ...vm, resources: [{ kind: "cgroup", path: "/sys/fs/cgroup/system.slice" } as const] }
  expect(() => setLimits(other, { cpus: 1 })).toThrow(failure("CHANGED", "is not where the cgroup of web is here"))
})

test("a guest's memory stays below what its VMM may use, whichever of the two changes", () => {
  const below = (memory: number | null | undefined, guestMiB: number) => () =>
    requireBelowLimit(vm, guestMiB, { limits: { memory }, word: "memory=256M" })
  expect(below(256 * MIB_BYTES, 256)).toThrow(
    failure("USAGE", "memory=256M: the VMM of web may use 256M, and needs more than the 256M of its guest"),
  )
  for (const fits of [below(257 * MIB_BYTES, 256), below(null, 256), below(undefined, 256)]) expect(fits).not.toThrow()
})
