import { close } from "../base/linux/files.ts"
import { Failure, inOneLine, isFailure, messageOf } from "../base/terms/failure.ts"
import { type Api, openApi } from "../host/firecracker/api.ts"
import { API_SOCKET, socketOf } from "../host/firecracker/argv.ts"
import {
  BALLOON_STATISTICS,
  CONFIGURATION,
  type Configuration,
  MEMORY_HOTPLUG,
  type Numbers,
} from "../host/firecracker/replies.ts"
import { processLiveness } from "../host/process/identity.ts"
import type { State } from "../store/state/open.ts"
import { vmLayout } from "../store/state/places.ts"
import { recall } from "../store/state/recall.ts"
import type { VmRecord } from "../store/state/records.ts"
import { openOwnSocket } from "../vm/controlSocket.ts"
import { entryOf } from "../vm/journal.ts"

/** How long Firecracker may take for each answer; while it writes a snapshot it gives none. */
const ANSWER_WAIT_MS = 2000

/** What a VMM says of itself, in its own words. */
export interface VmmsWords {
  /** Null when it cannot be asked. */
  readonly vmmConfig: Configuration | null
  /** Null without a balloon that has statistics. */
  readonly balloonStatistics: Numbers | null
  /** Null without hotpluggable memory. */
  readonly memoryHotplug: Numbers | null
  /** Why one of these could not be asked for. */
  readonly vmmWhy?: string
}

/**
 * Asks a running Firecracker for its configuration, its balloon's statistics and its hotpluggable memory. The answers come
 * from a process that a guest may have taken over: they are bounded in size, depth and time, and believed by nobody.
 * Throws nothing that a VM could be the cause of: what cannot be asked is null, with a reason.
 */
export async function askVmm(state: State, record: VmRecord): Promise<VmmsWords> {
  try {
    return await asked(state, record)
  } catch (error) {
    return { ...NOTHING, vmmWhy: isFailure(error) ? inOneLine(error) : messageOf(error) }
  }
}

// --- internal ---

const NOTHING = { vmmConfig: null, balloonStatistics: null, memoryHotplug: null } as const

async function asked({ where }: State, record: VmRecord): Promise<VmmsWords> {
  const layout = vmLayout(where, record.id)
  const resources = recall(record, layout.handles).journal
  const identity = entryOf(resources, "process")?.identity
  if (!identity) throw new Failure("WRONG_STATE", "no VMM of it is known", { subject: record.id })
  using vmm = processLiveness(identity)
  if (vmm.is !== "alive") throw new Failure("WRONG_STATE", vmm.why, { subject: record.id })
  const socket = openOwnSocket(socketOf(API_SOCKET, layout.runtime, undefined).host, { layout, resources, identity })
  try {
    return await words(openApi(`/proc/self/fd/${socket}`, ANSWER_WAIT_MS))
  } finally {
    close(socket)
  }
}

async function words(api: Api): Promise<VmmsWords> {
  const vmmConfig = await api.request(CONFIGURATION)
  try {
    const balloonStatistics = hasStatistics(vmmConfig) ? await api.request(BALLOON_STATISTICS) : null
    const memoryHotplug = vmmConfig["memory-hotplug"] ? await api.request(MEMORY_HOTPLUG) : null
    return { vmmConfig, balloonStatistics, memoryHotplug }
  } catch (error) {
    return { ...NOTHING, vmmConfig, vmmWhy: messageOf(error) }
  }
}

function hasStatistics({ balloon }: Configuration): boolean {
  if (typeof balloon !== "object" || balloon === null || !("stats_polling_interval_s" in balloon)) return false
  return Number(balloon.stats_polling_interval_s) > 0
}
