import { close } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { openApi } from "../../host/firecracker/api.ts"
import { API_SOCKET, socketOf } from "../../host/firecracker/argv.ts"
import { processLiveness } from "../../host/process/identity.ts"
import { specOfRecord } from "../../inputs/plugin/specOfRecord.ts"
import type { LimitWishes } from "../../inputs/schema/limitWords.ts"
import type { State } from "../../store/state/open.ts"
import { type VmLayout, vmLayout } from "../../store/state/places.ts"
import { recall } from "../../store/state/recall.ts"
import { findRecord, getRecord, type VmRecord } from "../../store/state/records.ts"
import { openOwnSocket } from "../../vm/controlSocket.ts"
import { entryOf } from "../../vm/journal.ts"
import { grant } from "./grant.ts"
import { memoryLimitOf, openCgroup } from "./setLimits.ts"
import { guestMemory, type Wishes } from "./sizes.ts"
import { inTurn } from "./turn.ts"

/** What a running VM is to have; what is undefined stays. */
export type AllWishes = Wishes & { readonly limits?: LimitWishes | undefined }

/**
 * Gives a running VM, whoever supervises it, other limits; and asks its Firecracker for another size of the guest's memory or
 * of its balloon, which the guest follows as it can, afterwards. Waits for its turn while something else changes the VM. Throws
 * a failure, with nothing changed, when the VM cannot have one of them.
 */
export async function setVm(state: State, reference: string, wishes: AllWishes): Promise<VmRecord> {
  const found = findRecord(state.db, reference)
  requireRunning(found)
  const layout = vmLayout(state.where, found.id)
  return await inTurn(found.name, layout, async () => {
    const record = getRecord(state.db, found.id)
    requireRunning(record)
    await change(record, layout, wishes)
    return record
  })
}

// --- internal ---

function requireRunning({ id, name, state }: VmRecord): void {
  // A VM that is stopping still runs in its preStop hooks.
  if (state !== "running" && state !== "stopping")
    throw new Failure("WRONG_STATE", `${name} is ${state}, not running`, { subject: id })
}

async function change(record: VmRecord, layout: VmLayout, wishes: AllWishes): Promise<void> {
  const { id, name, vmm } = record
  const { limits = {}, memory, balloon } = wishes
  const asksVmm = memory !== undefined || balloon !== undefined
  if (vmm !== "firecracker" && asksVmm)
    throw new Failure(
      "UNSUPPORTED",
      `${name} runs on ${vmm}, whose guests keep the memory that they were booted with`,
      {
        hint: 'run it with vmm: "firecracker"',
        subject: id,
      },
    )
  const resources = recall(record, layout.handles).journal
  const identity = entryOf(resources, "process")?.identity
  if (!identity) throw new Failure("LIVENESS_UNKNOWN", `it is not known which process ${name} is`, { subject: id })
  using process = processLiveness(identity)
  if (process.is !== "alive") {
    const code = process.is === "dead" ? "WRONG_STATE" : "LIVENESS_UNKNOWN"
    throw new Failure(code, `${name} cannot be changed: ${process.why}`, { subject: id })
  }
  using cgroup = Object.keys(limits).length > 0 ? openCgroup({ id, name, resources }) : undefined
  const vm = { name, vmm, pid: identity.pid, cgroup, limitBytes: memoryLimitOf({ resources }) }
  if (vmm !== "firecracker" || (!asksVmm && typeof limits.memory !== "number")) {
    const guestMiB = async () => specOfRecord(record, ["kernel", "memory"]).memory
    return await grant({ ...vm, api: undefined, guestMiB }, wishes)
  }
  const socket = openOwnSocket(socketOf(API_SOCKET, layout.runtime, undefined).host, { layout, resources, identity })
  try {
    const api = openApi(`/proc/self/fd/${socket}`)
    await grant({ ...vm, api, guestMiB: () => guestMemory(api) }, wishes)
  } finally {
    close(socket)
  }
}
