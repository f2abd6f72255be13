import { expect, test } from "bun:test"
import { join } from "node:path"
import { startGuest } from "./support/banger.ts"
import { guestScript, makeGuestDisk } from "./support/guestDisk.ts"
import { eachInItsPlace } from "./support/place.ts"

const place = eachInItsPlace()

test("on a distribution's kernel with cgroup v2 alone: limits are kept, a cgroup is killed, a jail is made and removed", async () => {
  const source = join(import.meta.dir, "../fixtures/inGuest.ts")
  const disk = makeGuestDisk(place.dir, source)
  const script = guestScript("/inGuest")
  const { stdout, stderr } = await startGuest(place, script, { memory: "1G", drives: [{ path: disk, id: "root" }] })
    .ended
  const result = /RESULT (\{.*\})/.exec(stdout)?.[1]
  expect(result, stdout + stderr).toBeDefined()
  expect(JSON.parse(result ?? "{}")).toEqual({
    kernel: expect.stringMatching(/^\d+\.\d+/),
    limits: {
      "memory.max": String(256 * 1024 * 1024),
      "cpu.max": "50000 100000",
      "pids.max": "100",
      "io.max": expect.stringContaining("rbps=1000000"),
    },
    joined: true,
    changed: {
      refused: [
        "limits.memory=24M: web uses …",
        "none",
        "none",
        expect.stringMatching(/^limits\.pids=1: web has \d+ threads and processes$/),
        "none",
        "limits: the kernel does not take io.max 9999:9 rbps=1",
        "none",
        "limits.memory=192M: the memory that web has is not counted in its cgroup",
      ],
      now: {
        ...{ memoryBytes: 192 * 1024 * 1024, cpus: 0.25, pids: 100 },
        io: [{ device: "254:0", readBytes: null, writeBytes: null, readOps: null, writeOps: 100 }],
      },
      used: true,
      counted: true,
      lifted: {
        ...{ memoryBytes: null, cpus: null, pids: null },
        io: [{ device: "254:0", readBytes: null, writeBytes: null, readOps: null, writeOps: 100 }],
      },
      lives: true,
    },
    gone: ["the cgroup of gone has gone", "the cgroup of gone has gone"],
    killed: "SIGKILL",
    staged: 6,
    mounts: 5,
    left: 0,
  })
})
