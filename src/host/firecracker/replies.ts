import * as v from "valibot"
import type { ApiRequest } from "./api.ts"

/** What is looked at of a whole configuration. */
const configuration = v.object({
  drives: v.optional(v.array(v.object({ drive_id: v.string(), path_on_host: v.nullish(v.string(), null) })), []),
  "machine-config": v.object({ mem_size_mib: v.pipe(v.number(), v.safeInteger(), v.minValue(0)) }),
  /** Not there where the release has none. */
  balloon: v.nullish(v.object({})),
  "memory-hotplug": v.nullish(
    v.object({
      total_size_mib: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
      block_size_mib: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    }),
  ),
})

export type Configuration = v.InferOutput<typeof configuration>

/** What a Firecracker has now, in its own words. */
export const CONFIGURATION: ApiRequest<Configuration> = {
  ...{ method: "GET", path: "/vm/config", setting: "configuration", reply: configuration, refusal: "VM_FAILED" },
}

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
