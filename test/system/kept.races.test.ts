import { expect, test } from "bun:test"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { O, O_DIRECTORY } from "../../src/base/linux/constants.ts"
import { openAt, withDescriptor } from "../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../src/base/linux/guards.ts"
import { findMount, type KeptMount, planMount, releaseMount } from "../../src/host/kept/mount.ts"
import { startStacker } from "./support/attack.ts"
import { naiveUnmount } from "./support/naive.ts"
import { eachInItsPlace } from "./support/place.ts"

const place = eachInItsPlace()
const ROUNDS = 3000

/** Mounts and releases while another process mounts its own on the same place; what that one counted. */
async function hammered(release: (thing: KeptMount, target: string) => void, rounds = ROUNDS) {
  const [target, source] = [join(place.dir, "target"), join(place.dir, "source")]
  for (const dir of [target, source]) mkdirSync(dir)
  const stacker = await startStacker(target)
  for (let round = 0; round < rounds; round++) {
    const thing = mounted(target, source)
    while (thing !== undefined && findMount(thing) !== undefined) {
      try {
        release(thing, target)
      } catch {
        // The other one's is on it.
      }
    }
  }
  const counted = await stacker.stop()
  // What the other one could not take off, since ours was on it.
  while (Bun.spawnSync(["umount", target]).success);
  return counted
}

/** Undefined where the other's, on which it was to be, has gone meanwhile. */
function mounted(target: string, source: string): KeptMount | undefined {
  using plan = planMount({ target, source, options: [], readonly: false })
  try {
    return plan.make()
  } catch {
    return undefined
  }
}

test("a kept mount is taken off, and none that another has mounted on it in the same moment", async () => {
  const { stacked, destroyed } = await hammered(releaseMount)
  expect({ raced: stacked > 100, destroyed }).toEqual({ raced: true, destroyed: 0 })
}, 120_000)

test("who looks and then unmounts takes another's mount off: the race is there", async () => {
  const naive = ({ id }: KeptMount, target: string) =>
    withDescriptor(openAt(AT_FDCWD, join(target, ".."), O.PATH | O_DIRECTORY), (parent) =>
      naiveUnmount(parent, "target", id),
    )
  expect((await hammered(naive)).destroyed).toBeGreaterThan(0)
}, 120_000)
