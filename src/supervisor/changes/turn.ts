import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { close, openAt, tryFlock } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure } from "../../base/terms/failure.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import type { VmLayout } from "../../store/state/places.ts"

/** Most changes take milliseconds; the image of a drive may take longer to copy than anybody wants to wait here. */
const TURN_WAIT_MS = 10_000

/**
 * Runs `work` while no other banger, and no hook, changes this running VM: one change at a time, whoever makes it (flock(2) on the
 * VM's directory, which only its owner can open; a full disk does not matter). Throws BUSY when its turn has not come after
 * `patienceMs`, and WRONG_STATE when the VM has been removed; `signal` ends the wait.
 */
export async function inTurn<T>(
  name: string,
  { id, dir }: Pick<VmLayout, "id" | "dir">,
  work: () => Promise<T>,
  { signal, patienceMs = TURN_WAIT_MS }: { readonly signal?: AbortSignal; readonly patienceMs?: number } = {},
): Promise<T> {
  const fd = unlessAbsent(() => openAt(AT_FDCWD, dir, O.RDONLY | O_DIRECTORY | O_NOFOLLOW))
  if (fd === undefined) throw new Failure("WRONG_STATE", `the directory of ${name} has gone: ${dir}`, { subject: id })
  try {
    const deadline = performance.now() + patienceMs
    while (!tryFlock(fd)) {
      signal?.throwIfAborted()
      if (performance.now() >= deadline) {
        const message = `something else is changing ${name}: waited ${formatDuration(patienceMs)} for it`
        const hint = `a hook, or another banger set; try again later, or find it: fuser -v ${dir}`
        throw new Failure("BUSY", message, { hint, subject: id })
      }
      await Bun.sleep(RETRY_MS)
    }
    return await work()
  } finally {
    close(fd)
  }
}

// --- internal ---

/** How long to wait before trying again. */
const RETRY_MS = 10
