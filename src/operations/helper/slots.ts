import { join } from "node:path"
import { isDiskFull } from "../../base/linux/errors.ts"
import { close } from "../../base/linux/files.ts"
import { Failure, isFailure } from "../../base/terms/failure.ts"
import { takeLock } from "../../store/files/lock.ts"
import { ensurePrivateDirectory } from "../../store/files/privateDirectory.ts"

/** No VM's id begins so. */
const HELPERS = ".helpers"

/** Besides one for each VM, a user may have so many helpers that list, wait and show. */
const SPARE_COUNT = 32

/**
 * Takes a place among the helpers that a user may have at a time, until it is disposed of or this process ends: a lock on a file of
 * root's in the runtime directory (flock(2)), which stays. Where that is full nobody is counted: a user can stop their VM all the same.
 * Throws BUSY where all places are taken.
 */
export function takeHelperSlot(runtime: () => string, uid: number, vmsMax: number): Disposable {
  const count = vmsMax + SPARE_COUNT
  try {
    const dir = ensurePrivateDirectory(join(runtime(), HELPERS), 0o700, true)
    for (let slot = 0; slot < count; slot++) {
      const fd = takeLock(join(dir, `${uid}.${slot}`))
      if (fd !== undefined) return { [Symbol.dispose]: () => close(fd) }
    }
  } catch (error) {
    if (!isDiskFull(error) && !(isFailure(error) && error.code === "NO_SPACE")) throw error
    return { [Symbol.dispose]() {} }
  }
  const hint = "wait for one to end; or root allows more VMs, and with them helpers: sudoVms in /etc/banger/config.toml"
  throw new Failure("BUSY", `uid ${uid} has ${count} helpers running, and may have no more`, {
    hint,
    subject: "sudoVms",
  })
}
