import { close } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { formatSize } from "../../base/terms/quantity.ts"
import { type Api, openApi } from "../../host/firecracker/api.ts"
import { API_SOCKET, socketOf } from "../../host/firecracker/argv.ts"
import { balloonRequest, memoryRequest } from "../../host/firecracker/devices.ts"
import { MEMORY_HOTPLUG, PRESENT, type Present } from "../../host/firecracker/replies.ts"
import { processLiveness } from "../../host/process/identity.ts"
import { specOfRecord } from "../../inputs/plugin/specOfRecord.ts"
import type { LimitWishes } from "../../inputs/schema/limitWords.ts"
import type { State } from "../../store/state/open.ts"
import { vmLayout } from "../../store/state/places.ts"
import { recall } from "../../store/state/recall.ts"
import { findRecord, type VmRecord } from "../../store/state/records.ts"
import { openOwnSocket } from "../../vm/controlSocket.ts"
import { entryOf } from "../../vm/journal.ts"
import { type LimitedVm, memoryLimitOf, requireBelowLimit, setLimits } from "./setLimits.ts"

/** What a running VM is to have, in MiB; what is undefined stays. */
export interface Wishes {
  /** All of its memory: what it was booted with, and what is plugged in. */
  readonly memory?: number | undefined
  /** How much of its memory the guest gives back to the host. */
  readonly balloon?: number | undefined
}

/**
 * Gives a running VM, whoever supervises it, other limits; and asks its Firecracker for another size of the guest's memory or
 * of its balloon, which the guest follows as it can, afterwards. Throws a failure, with nothing changed, when the VM cannot
 * have one of them.
 */
export async function setVm(
  state: State,
  reference: string,
  { limits = {}, ...wishes }: Wishes & { readonly limits?: LimitWishes | undefined },
): Promise<VmRecord> {
  const record = findRecord(state.db, reference)
  const { id, name, vmm } = record
  // A VM that is stopping still runs in its preStop hooks.
  if (record.state !== "running" && record.state !== "stopping")
    throw new Failure("WRONG_STATE", `${name} is ${record.state}, not running`, { subject: id })
  const asksVmm = wishes.memory !== undefined || wishes.balloon !== undefined
  if (vmm !== "firecracker" && asksVmm)
    throw new Failure(
      "UNSUPPORTED",
      `${name} runs on ${vmm}, whose guests keep the memory that they were booted with`,
      {
        hint: 'run it with vmm: "firecracker"',
        subject: id,
      },
    )
  const layout = vmLayout(state.where, id)
  const resources = recall(record, layout.handles).journal
  const identity = entryOf(resources, "process")?.identity
  if (!identity) throw new Failure("LIVENESS_UNKNOWN", `it is not known which process ${name} is`, { subject: id })
  using process = processLiveness(identity)
  if (process.is !== "alive") {
    const code = process.is === "dead" ? "WRONG_STATE" : "LIVENESS_UNKNOWN"
    throw new Failure(code, `${name} cannot be changed: ${process.why}`, { subject: id })
  }
  const limited = { id, name, resources, pid: identity.pid }
  const limiting = Object.keys(limits).length > 0
  const check = () => limiting && setLimits(limited, limits, { check: true })
  const belowLimit = (memoryMiB: number, word: string) => requireBelowLimit(limited, memoryMiB, { limits, word })
  const word = typeof limits.memory === "number" ? `limits.memory=${formatSize(limits.memory)}` : undefined
  if (vmm === "firecracker" && (asksVmm || word !== undefined)) {
    const socket = openOwnSocket(socketOf(API_SOCKET, layout.runtime, undefined).host, { layout, resources, identity })
    try {
      const api = openApi(`/proc/self/fd/${socket}`)
      if (wishes.memory !== undefined) belowLimit(wishes.memory, `memory=${wishes.memory}M`)
      // A guest that is to have less still has what it has, and may keep it.
      if (word !== undefined) belowLimit(await guestMemory(api), word)
      check()
      if (asksVmm) await raisedFirst(limited, limits, () => changeMemory(api, name, wishes))
    } finally {
      close(socket)
    }
  } else {
    if (word !== undefined) belowLimit(specOfRecord(record, ["kernel", "memory"]).memory, word)
    check()
  }
  if (limiting) setLimits(limited, limits)
  return record
}

/** As `setVm`, of the VM of this name behind an API. All wishes are checked before one is granted. */
export async function changeMemory(api: Api, name: string, { memory, balloon }: Wishes): Promise<void> {
  const has = await api.request(PRESENT)
  const plugged = memory === undefined ? undefined : requirePluggable(name, has, memory)
  if (balloon !== undefined) requireBalloon(name, has, balloon)
  if (plugged !== undefined) await granted(`memory=${memory}M`, () => api.request(memoryRequest(plugged)))
  if (balloon !== undefined) await granted(`balloon=${balloon}M`, () => api.request(balloonRequest(balloon)))
}

// --- internal ---

/** Does `work` below a memory limit that rises with it: a guest never has more than its VMM may use. One that falls, falls later. */
async function raisedFirst(vm: LimitedVm, { memory }: LimitWishes, work: () => Promise<void>): Promise<void> {
  const now = memoryLimitOf(vm)
  const rises = memory !== undefined && now !== undefined && now !== null && (memory === null || memory > now)
  if (rises) setLimits(vm, { memory })
  try {
    await work()
  } catch (error) {
    if (rises) setLimits(vm, { memory: now })
    throw error
  }
}

/** How much memory a guest has, or was asked to have, in MiB. */
async function guestMemory(api: Api): Promise<number> {
  const { "machine-config": machine, "memory-hotplug": pluggable } = await api.request(PRESENT)
  if (!pluggable) return machine.mem_size_mib
  const { requested_size_mib = 0, plugged_size_mib = 0 } = await api.request(MEMORY_HOTPLUG)
  return machine.mem_size_mib + Math.max(requested_size_mib, plugged_size_mib)
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
