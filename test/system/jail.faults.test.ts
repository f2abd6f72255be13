import { expect, test } from "bun:test"
import { readdirSync } from "node:fs"
import { constants } from "node:os"
import { interpose } from "../../src/base/linux/interpose.ts"
import { tearDown } from "../../src/host/jail/tearDown.ts"
import { makeExample, stageExample } from "../fixtures/jail.ts"
import { expectNoJail, manifest } from "./support/canary.ts"
import { eachInItsPlace } from "./support/place.ts"

const place = eachInItsPlace()
const FAULTS = ["EPERM", "ENOSPC", "ENOMEM", "EIO", "EINTR"] as const
const descriptors = () => readdirSync("/proc/self/fd").length

/** Runs `work` with its `at`-th system call failing, or with none when `at` is 0; returns how many it made. */
async function failing(
  at: number,
  errno: number,
  work: () => unknown,
): Promise<{ calls: number; error: unknown; failed: string }> {
  const seen = { calls: 0, failed: "" }
  interpose({
    before(call, subject) {
      // A close that reports an error has closed its descriptor all the same.
      if (call === "close" || ++seen.calls !== at) return 0
      seen.failed = `${call} ${subject ?? ""}`
      return errno
    },
  })
  try {
    await work()
    return { ...seen, error: undefined }
  } catch (error) {
    return { ...seen, error }
  } finally {
    interpose(undefined)
  }
}

test.each(FAULTS)(
  "each system call of staging fails once with %s: an error or none, and all of it is taken away",
  async (name) => {
    const example = makeExample(place.dir)
    const sources = manifest(place.dir)
    const { calls } = await failing(0, 0, () => stageExample(example, () => {}).then(() => {}))
    expect(calls).toBeGreaterThan(80)
    tearDownNow(example, await inodeOfNext(example))
    const before = descriptors()
    let errors = 0
    for (let at = 1; at <= calls; at++) {
      let inode: string | null = null
      const { error, failed } = await failing(at, constants.errno[name], () =>
        stageExample(example, (root) => (inode = root)),
      )
      if (error !== undefined) {
        errors++
        expect(String(error), failed).toContain(name)
      }
      tearDown(example.site, inode)
      expectNoJail(example.site, failed)
    }
    expect(manifest(place.dir)).toEqual(sources)
    expect(descriptors()).toBe(before)
    // Nearly all calls matter; most of those that are interrupted are made again.
    expect(errors).toBeGreaterThan(name === "EINTR" ? 10 : calls * 0.6)
  },
)

test.each(FAULTS)(
  "each system call of the teardown fails once with %s: a second one finishes what the first could not",
  async (name) => {
    const example = makeExample(place.dir)
    const sources = manifest(place.dir)
    let inode: string | null = null
    const stage = () => stageExample(example, (root) => (inode = root))
    await stage()
    const { calls } = await failing(0, 0, () => tearDown(example.site, inode))
    expect(calls).toBeGreaterThan(60)
    const before = descriptors()
    let errors = 0
    for (let at = 1; at <= calls; at++) {
      await stage()
      const { error, failed } = await failing(at, constants.errno[name], () => tearDown(example.site, inode))
      if (error !== undefined) {
        errors++
        expect(String(error), failed).toContain(name)
      }
      tearDown(example.site, inode)
      expectNoJail(example.site, failed)
      expect(manifest(place.dir), failed).toEqual(sources)
    }
    expect(descriptors()).toBe(before)
    expect(errors).toBeGreaterThan(name === "EINTR" ? 10 : calls * 0.6)
  },
)

/** Takes away a jail that a first, unfailing staging has made. */
function tearDownNow({ site }: ReturnType<typeof makeExample>, inode: string): void {
  tearDown(site, inode)
  expectNoJail(site, "the first")
}

async function inodeOfNext({ site }: ReturnType<typeof makeExample>): Promise<string> {
  const { inodeOf, statPath } = await import("../../src/base/linux/files.ts")
  return inodeOf(statPath(`${site.base}/${site.vmm}/${site.id}/root`))
}
