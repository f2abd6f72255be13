import { Failure } from "../../base/terms/failure.ts"
import type { Api, ApiRequest } from "../../host/firecracker/api.ts"
import { balloonRequest, memoryRequest } from "../../host/firecracker/devices.ts"
import { MEMORY_HOTPLUG, PRESENT, type Present } from "../../host/firecracker/replies.ts"

/** What a running VM is to have, in MiB; what is undefined stays. */
export interface Wishes {
  /** All of its memory: what it was booted with, and what is plugged in. */
  readonly memory?: number | undefined
  /** How much of its memory the guest gives back to the host. */
  readonly balloon?: number | undefined
}

/** One thing to ask a Firecracker for. */
export interface Ask {
  /** As the user wrote it. */
  readonly word: string
  /** Asks; throws a failure that names the word when it is refused. */
  granted(): Promise<void>
  /** Asks for what was there before. */
  undo(): Promise<unknown>
}

/** What to ask a Firecracker for. Throws a failure, with nothing changed, when the VM cannot have one of the wishes. */
export async function asksOf(api: Api, name: string, { memory, balloon }: Wishes): Promise<readonly Ask[]> {
  if (memory === undefined && balloon === undefined) return []
  const has = await api.request(PRESENT)
  const plugged = memory === undefined ? undefined : requirePluggable(name, has, memory)
  if (balloon !== undefined) requireBalloon(name, has, balloon)
  const ask = (word: string, request: ApiRequest, before: ApiRequest): Ask => ({
    word,
    granted: () => granted(word, () => api.request(request)),
    undo: () => api.request(before),
  })
  return [
    ...(plugged === undefined
      ? []
      : [ask(`memory=${memory}M`, memoryRequest(plugged), memoryRequest(await requested(api)))]),
    ...(balloon === undefined
      ? []
      : [ask(`balloon=${balloon}M`, balloonRequest(balloon), balloonRequest(has.balloon?.amount_mib ?? 0))]),
  ]
}

/** Undoes what was granted. Throws nothing; returns the word of what could not be put back. */
export async function putBack({ word, undo }: Ask): Promise<readonly string[]> {
  try {
    await undo()
    return []
  } catch {
    return [word]
  }
}

/** How much memory a guest has, or was asked to have, in MiB. */
export async function guestMemory(api: Api): Promise<number> {
  const { "machine-config": machine, "memory-hotplug": pluggable } = await api.request(PRESENT)
  if (!pluggable) return machine.mem_size_mib
  const { requested_size_mib = 0, plugged_size_mib = 0 } = await api.request(MEMORY_HOTPLUG)
  return machine.mem_size_mib + Math.max(requested_size_mib, plugged_size_mib)
}

// --- internal ---

async function requested(api: Api): Promise<number> {
  const { requested_size_mib = 0 } = await api.request(MEMORY_HOTPLUG)
  return requested_size_mib
}

/** How much of the wanted memory is to be plugged in. */
function requirePluggable(name: string, has: Present, wanted: number): number {
  const boot = has["machine-config"].mem_size_mib
  const pluggable = has["memory-hotplug"]
  if (!pluggable)
    throw new Failure("UNSUPPORTED", `memory=${wanted}M: ${name} has ${boot}M, to which none can be plugged in`, {
      hint: has.balloon
        ? "balloon=… takes some of it; firecracker.memory_hotplug in the plugin lets it grow"
        : "firecracker.memory_hotplug in the plugin lets it grow",
      subject: "memory",
    })
  const { total_size_mib: total, block_size_mib: block } = pluggable
  const more = wanted - boot
  if (more >= 0 && more <= total && more % block === 0) return more
  const hint = `it can have ${boot}M to ${boot + total}M, in steps of ${block}M`
  const words = more < 0 ? "less than" : more > total ? "more than" : "between two sizes that"
  throw new Failure("USAGE", `memory=${wanted}M: ${words} ${name} can have`, { hint, subject: "memory" })
}

function requireBalloon(name: string, has: Present, wanted: number): void {
  const boot = has["machine-config"].mem_size_mib
  if (!has.balloon)
    throw new Failure("UNSUPPORTED", `balloon=${wanted}M: ${name} has no balloon`, {
      hint: "firecracker.balloon in the plugin gives it one",
      subject: "balloon",
    })
  if (wanted <= boot) return
  const hint = `the balloon can take up to ${boot}M`
  throw new Failure("USAGE", `balloon=${wanted}M: more than the memory that ${name} was booted with`, {
    hint,
    subject: "balloon",
  })
}

/** A refusal says what was asked for; and that a guest must have a driver for it, which only then is there for the VMM. */
async function granted(word: string, ask: () => Promise<unknown>): Promise<void> {
  try {
    await ask()
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    const hint = /not activ/i.test(error.message) ? "the guest has no driver for it, or not yet" : error.hint
    throw new Failure(error.code, `${word}: ${error.message}`, { hint, subject: word, cause: error })
  }
}
