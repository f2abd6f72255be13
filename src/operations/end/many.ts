import { readFileSync } from "node:fs"
import { availableParallelism } from "node:os"
import { asFailure, type Failure } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import type { State } from "../../store/state/open.ts"
import { findById } from "../../store/state/records.ts"
import { isFinal } from "../../store/state/vmState.ts"
import { runApart } from "./apart.ts"
import { type Slot, slotsOf } from "./slots.ts"
import { type Stopper, startStopper } from "./stopper.ts"

/** How many VMs are ended. */
export interface EndMany<V, T> {
  readonly log: Log
  /** Ends one VM. */
  readonly end: (vm: V, stopper: Stopper) => Promise<T>
  /** The words by which another banger does the same; the VM's id follows them. */
  readonly words: readonly string[]
  /** Whether that banger says thereby that it is done, which `onEnd` tells. */
  readonly saysDone: (message: string, id: string) => boolean
  /** Hears how each went, as soon as it has. */
  readonly onEnd: (vm: V, how: { readonly done: T } | { readonly failed: Failure }) => void
}

/**
 * Ends many VMs at a time: as many are worked on as there are processors, and however many wait for their guests, as far as
 * memory reaches for their supervisors. A signal ends the waiting: what was not begun is not. Returns its exit code, if one
 * came.
 */
export async function endMany<V, T>(
  state: State,
  vms: readonly V[],
  { log, end, words, saysDone, onEnd }: EndMany<V, T>,
): Promise<number | undefined> {
  using stopper = startStopper(log)
  const { interrupts } = stopper
  const working = slotsOf(availableParallelism())
  const awake = slotsOf(awakeCount())
  const pollMs = Math.min(POLL_MOST_MS, POLL_MS * Math.ceil(vms.length / POLLED_COUNT))
  const endOne = async (vm: V) => {
    using room = await awake.take()
    using turn = await working.take()
    // Signals are heard between two VMs.
    await Bun.sleep(0)
    if (interrupts.stop.aborted) return
    const limit = setTimeout(turn.release, TURN_MS)
    const among = {
      ...{ pollMs, waits: turn.release },
      sleeps() {
        turn.release()
        room.release()
      },
      apart: (id: string) => apart(state, id, { words, saysDone, stopper, turn }),
    }
    try {
      onEnd(vm, { done: await end(vm, { ...stopper, among }) })
    } catch (error) {
      onEnd(vm, { failed: asFailure(error) })
    } finally {
      clearTimeout(limit)
    }
  }
  await Promise.all(vms.map(endOne))
  return interrupts.exitCode()
}

// --- internal ---

/** A VM whose supervisor does not come to stop it in so many milliseconds (it may be stopped itself) keeps no other waiting. */
const TURN_MS = 5000

/** What a supervisor takes that is awake, with room to spare; they get half of the memory there is. */
const AWAKE_BYTES = 48 * 1024 * 1024

/** The ends of so many VMs are looked for in any case every so many milliseconds; of more, less often. */
const POLLED_COUNT = 16
const POLL_MS = 250
const POLL_MOST_MS = 5000

function awakeCount(): number {
  const [, kib = "0"] = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync("/proc/meminfo", "latin1")) ?? []
  return Math.max(availableParallelism(), Math.floor((Number(kib) * 1024) / 2 / AWAKE_BYTES))
}

interface Apart extends Pick<EndMany<unknown, unknown>, "words" | "saysDone"> {
  readonly stopper: Stopper
  readonly turn: Slot
}

/** Has another banger end a VM, because a process loads one plugin. Throws the failure that it ended with. */
async function apart(state: State, id: string, { words, saysDone, stopper, turn }: Apart): Promise<void> {
  const { interrupts, log } = stopper
  const stopping = () => {
    const now = findById(state.db, id)?.state
    return now === undefined || now === "stopping" || isFinal(now)
  }
  const looking = setInterval(() => stopping() && turn.release(), POLL_MS)
  try {
    const failure = await runApart([...words, id], {
      interrupts,
      log: { ...log, info: (message) => void (saysDone(message, id) || log.info(message)) },
    })
    if (failure !== undefined) throw failure
  } finally {
    clearInterval(looking)
  }
}
