import { expect, test } from "bun:test"
import { openCgroup, ownMemoryOf, requireBelowLimit } from "../../../src/supervisor/changes/setLimits.ts"
import { failure } from "../../failure.ts"

const vm = { id: "web-1", name: "web", resources: [] }
const MIB_BYTES = 1024 * 1024

test("a VM without a cgroup has no limits to change, and a cgroup that is not its own is left alone", () => {
  expect(() => openCgroup(vm)).toThrow(failure("UNSUPPORTED", "limits: web has no cgroup"))
  const other = { ...vm, resources: [{ kind: "cgroup", path: "/sys/fs/cgroup/system.slice" } as const] }
  expect(() => openCgroup(other)).toThrow(failure("CHANGED", "is not where the cgroup of web is here"))
})

test("a guest's memory stays below what its VMM may use, whichever of the two changes", () => {
  const below = (limitBytes: number | null | undefined, guestMiB: number) => () =>
    requireBelowLimit("web", guestMiB, { limitBytes, word: "memory=256M" })
  expect(below(256 * MIB_BYTES, 256)).toThrow(
    failure("USAGE", "memory=256M: the VMM of web may use 256M, and needs more than the 256M of its guest"),
  )
  for (const fits of [below(257 * MIB_BYTES, 256), below(null, 256), below(undefined, 256)]) expect(fits).not.toThrow()
})

test("a process's own memory is what it shares by a memfd too, but no file of a disk", async () => {
  const child = (what: string) =>
    Bun.spawn(["python3", "-c", `import mmap, os, sys; ${what}; print("taken", flush=True); sys.stdin.read()`], {
      stdin: "pipe",
      stdout: "pipe",
    })
  const own: number[] = []
  for (const what of [
    "0",
    'f = os.memfd_create("m"); os.truncate(f, 64 << 20); m = mmap.mmap(f, 64 << 20); m.write(b"x" * (64 << 20))',
    "m = b'x' * (64 << 20)",
  ]) {
    const { stdin, stdout, pid, exited } = child(what)
    await stdout.getReader().read()
    own.push(ownMemoryOf(pid))
    stdin.end()
    await exited
  }
  const [none = 0, shared = 0, anonymous = 0] = own
  for (const more of [shared - none, anonymous - none]) {
    expect(more).toBeGreaterThan(60 * MIB_BYTES)
    expect(more).toBeLessThan(200 * MIB_BYTES)
  }
  expect(ownMemoryOf(2 ** 22 + 1)).toBe(0)
})
