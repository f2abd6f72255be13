import { Failure, isFailure } from "../../base/terms/failure.ts"
import { formatExactSize } from "../../base/terms/quantity.ts"
import { changeLimits, makeRoom, notPutBack, type RunningCgroup } from "../../host/cgroup/change.ts"
import type { Api } from "../../host/firecracker/api.ts"
import type { LimitWishes } from "../../inputs/schema/limitWords.ts"
import { requireBelowLimit, requireLimits, settingsOf } from "./setLimits.ts"
import { asksOf, putBack, type Wishes } from "./sizes.ts"

/** A running VM that changes, and what speaks for it. */
export interface ChangingSizes {
  readonly name: string
  readonly vmm: string
  /** The VMM's. */
  readonly pid: number
  /** Its Firecracker's, where that is asked. */
  readonly api: Api | undefined
  /** Where its limits are, when some of them change. */
  readonly cgroup: RunningCgroup | undefined
  /** What its VMM may use of memory now, in bytes; null and undefined: as much as there is. */
  readonly limitBytes: number | null | undefined
  /** How much memory its guest has, or was asked to have, in MiB. */
  guestMiB(): Promise<number>
}

/**
 * Gives a running VM other sizes and limits. All that can be refused is, before anything changes; what the VMM or the kernel
 * refuses afterwards leaves all as it was, but for memory that the kernel only kept for later. Throws the first failure.
 */
export async function grant(
  vm: ChangingSizes,
  { limits = {}, ...wishes }: Wishes & { readonly limits?: LimitWishes | undefined },
): Promise<void> {
  const { name, api, cgroup, limitBytes } = vm
  const { memory: limit, ...others } = limits
  const asks = api === undefined ? [] : await asksOf(api, name, wishes)
  if (wishes.memory !== undefined) {
    const after = limit === undefined ? limitBytes : limit
    requireBelowLimit(name, wishes.memory, { limitBytes: after, word: `memory=${wishes.memory}M` })
  }
  if (typeof limit === "number") {
    // A guest that is to have less still has what it has, and may keep it.
    const word = `limits.memory=${formatExactSize(limit)}`
    requireBelowLimit(name, await vm.guestMiB(), { limitBytes: limit, word })
  }
  if (cgroup !== undefined) requireLimits(cgroup, limits, vm)
  if (cgroup !== undefined && typeof limit === "number") makeRoom(cgroup, limit)
  // A guest never has more than its VMM may use: a limit that rises does so before the memory, one that falls after it.
  const falls = typeof limit === "number" && (typeof limitBytes !== "number" || limit < limitBytes)
  const undos: (() => readonly string[] | Promise<readonly string[]>)[] = []
  try {
    if (cgroup !== undefined) undos.push(changeLimits(cgroup, settingsOf(falls ? others : limits)))
    for (const ask of asks) {
      await ask.granted()
      undos.push(() => putBack(ask))
    }
    if (cgroup !== undefined && falls) {
      makeRoom(cgroup, limit)
      changeLimits(cgroup, settingsOf({ memory: limit }))
    }
  } catch (error) {
    throw await undone(error, undos)
  }
}

// --- internal ---

/** Undoes, last first, and returns the failure that was the reason, which tells what stays. */
async function undone(
  error: unknown,
  undos: readonly (() => readonly string[] | Promise<readonly string[]>)[],
): Promise<unknown> {
  const left: string[] = []
  for (const undo of undos.toReversed()) left.push(...(await undo()))
  if (left.length === 0 || !isFailure(error)) return error
  const { code, message, hint, subject } = error
  return new Failure(code, `${message}${notPutBack(left)}`, { hint, subject, cause: error })
}
