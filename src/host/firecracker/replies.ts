import * as v from "valibot"
import type { ApiRequest } from "./api.ts"

const instance = v.object({
  id: v.string(),
  state: v.picklist(["Not started", "Running", "Paused"]),
  vmm_version: v.string(),
})

export type Instance = v.InferOutput<typeof instance>

/** Which VM the API is of, in which state, by which version. */
export const INSTANCE: ApiRequest<Instance> = {
  ...{ method: "GET", path: "/", setting: "instance", reply: instance },
}

/** No configuration of Firecracker's nests deeper than a rate limiter of a device in a list. */
const DEPTH_MAX_COUNT = 12
const TOO_DEEP = `an object that nests at most ${DEPTH_MAX_COUNT} deep`
const configuration = v.pipe(
  noList("an object"),
  v.record(v.string(), v.unknown(), "an object"),
  v.check((value) => isShallow(value, DEPTH_MAX_COUNT), TOO_DEEP),
)

/** What Firecracker has been told, as it says it itself: each release has its own keys (FullVmConfiguration). */
export type Configuration = v.InferOutput<typeof configuration>

/** A VM's whole configuration. */
export const CONFIGURATION: ApiRequest<Configuration> = {
  ...{ method: "GET", path: "/vm/config", setting: "vm/config", refusal: "VM_FAILED", reply: configuration },
}

/** What is looked at of a configuration before something of it is changed. */
const present = v.object({
  drives: v.optional(v.array(v.object({ drive_id: v.string(), path_on_host: v.nullish(v.string(), null) })), []),
  "network-interfaces": v.optional(v.array(v.object({ iface_id: v.string() })), []),
  "machine-config": v.object({ mem_size_mib: v.pipe(v.number(), v.safeInteger(), v.minValue(0)) }),
  /** Not there where the release has none. */
  balloon: v.nullish(v.object({ amount_mib: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0)), 0) })),
  "memory-hotplug": v.nullish(
    v.object({
      total_size_mib: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
      block_size_mib: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    }),
  ),
})

export type Present = v.InferOutput<typeof present>

/** What a Firecracker has now, in its own words. */
export const PRESENT: ApiRequest<Present> = {
  ...{ method: "GET", path: "/vm/config", setting: "vm/config", reply: present, refusal: "VM_FAILED" },
}

const NUMBERS_MAX_COUNT = 64
const NUMBERS_WORDS = `an object of at most ${NUMBERS_MAX_COUNT} numbers`
const numbers = v.pipe(
  noList(NUMBERS_WORDS),
  v.record(v.string(), v.number(NUMBERS_WORDS), NUMBERS_WORDS),
  v.check((value) => Object.keys(value).length <= NUMBERS_MAX_COUNT, NUMBERS_WORDS),
)

/** Numbers in Firecracker's words; which of them there are depends on its release and on the guest. */
export type Numbers = v.InferOutput<typeof numbers>

/** What the guest's balloon driver has reported last (BalloonStats). */
export const BALLOON_STATISTICS: ApiRequest<Numbers> = {
  ...{ method: "GET", path: "/balloon/statistics", setting: "balloon", refusal: "VM_FAILED", reply: numbers },
}

/** How much of the hotpluggable memory the guest has (MemoryHotplugStatus). */
export const MEMORY_HOTPLUG: ApiRequest<Numbers> = {
  ...{ method: "GET", path: "/hotplug/memory", setting: "memory_hotplug", refusal: "VM_FAILED", reply: numbers },
}

// --- internal ---

/** To valibot a list is a record too. */
function noList(words: string) {
  return v.pipe(
    v.unknown(),
    v.check((value) => !Array.isArray(value), words),
  )
}

/** Whether no value lies more than `depth` objects and lists deep. */
function isShallow(value: unknown, depth: number): boolean {
  if (typeof value !== "object" || value === null) return true
  return depth > 0 && Object.values(value).every((inner) => isShallow(inner, depth - 1))
}
