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
