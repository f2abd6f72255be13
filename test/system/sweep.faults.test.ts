import { expect, test } from "bun:test"
import { existsSync, lstatSync, readdirSync, rmSync } from "node:fs"
import { constants } from "node:os"
import { join } from "node:path"
import { close } from "../../src/base/linux/files.ts"
import { interpose } from "../../src/base/linux/interpose.ts"
import { SWEEP_UID } from "../../src/store/state/uids.ts"
import { makeMixed } from "../fixtures/sockets/crowd.ts"
import { eachInItsPlace } from "./support/place.ts"
import { directoryIn, sweepNow } from "./support/sweeping.ts"

const place = eachInItsPlace()
const driver = join(import.meta.dir, "../fixtures/sockets/sweepDriver.ts")
const descriptors = () => readdirSync("/proc/self/fd").length

/** Runs `work` in a fresh mixed directory, and asserts that what is not dead is there after it; then that a sweep heals. */
async function inMixed(mode: number, message: () => string, work: (dir: string) => Promise<void>): Promise<void> {
  const dir = directoryIn(place.dir, "mixed", mode)
  const { live, dead, kept } = makeMixed(dir)
  try {
    await work(dir)
    for (const path of kept) expect(existsSync(path), `${path} after ${message()}`).toBe(true)
    // Whom the killed one gave to the reserved uid, the next one need not wait for.
    await sweepNow([dir], { grace: 60_000 })
    for (const path of dead.filter((each) => existsSync(each)))
      expect(lstatSync(path).uid, message()).not.toBe(SWEEP_UID)
    const { totals } = await sweepNow([dir])
    expect(totals, message()).toMatchObject({ alive: 1, errors: 0 })
    for (const path of dead) expect(existsSync(path), `${path} after ${message()}`).toBe(false)
    for (const path of kept) expect(existsSync(path), `${path} after ${message()}`).toBe(true)
  } finally {
    close(live)
    rmSync(dir, { recursive: true })
  }
}

test.each([0o1755, 0o755])(
  "a sweep that is killed after any of its system calls loses nothing, and the next one heals (mode %i)",
  async (mode) => {
    let calls = 0
    await inMixed(
      mode,
      () => "none",
      async (dir) => {
        const { stdout } = Bun.spawnSync([process.execPath, driver, dir, "0"])
        calls = Number(stdout.toString())
      },
    )
    expect(calls).toBeGreaterThan(100)
    for (let at = 1; at <= calls; at++) {
      await inMixed(
        mode,
        () => `call ${at}`,
        async (dir) => {
          const { signalCode } = Bun.spawnSync([process.execPath, driver, dir, String(at)])
          expect(signalCode ?? "none", `call ${at} of ${calls}`).toBe("SIGKILL")
        },
      )
    }
  },
  120_000,
)

const FAULTS = ["ENOENT", "EACCES", "EPERM", "EROFS", "EMFILE", "ENAMETOOLONG", "EIO", "ENOMEM", "EAGAIN"] as const

test.each(FAULTS)(
  "each system call of a sweep fails once with %s: no live socket is lost, and the next one heals",
  async (name) => {
    const before = descriptors()
    let troubled = 0
    for (let at = 0, calls = 0; at <= calls; at++) {
      const seen = { calls: 0, failed: "" }
      await inMixed(
        0o1755,
        () => `${name} of ${seen.failed}`,
        async (dir) => {
          interpose({
            before(call, subject) {
              // A close that reports an error has closed its descriptor all the same.
              if (call === "close" || ++seen.calls !== at) return 0
              seen.failed = `call ${at}, ${call} ${subject ?? ""}`
              return constants.errno[name]
            },
          })
          try {
            const { totals } = await sweepNow([dir], { confirm: 2 })
            if (totals.errors > 0) troubled++
          } finally {
            interpose(undefined)
          }
          calls = Math.max(calls, seen.calls)
        },
      )
    }
    expect(descriptors()).toBe(before)
    expect(troubled).toBeGreaterThan(20)
  },
)
