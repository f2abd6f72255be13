import type { JailPath } from "../../base/terms/path.ts"
import type { Devices, DriveLimits, NetworkLimits } from "../vmm/vmm.ts"
import type { Api, ApiRequest } from "./api.ts"
import { requireBody } from "./bodies.ts"
import { DEVICES } from "./replies.ts"
import { CARD } from "./requests.ts"

/** The devices of a running Firecracker. A body that its API would not take is refused before it is asked. */
export function devicesOf(api: Api): Devices {
  const change = async (request: ApiRequest) => {
    requireBody(request)
    await api.request(request)
  }
  return {
    async drives() {
      const { drives } = await api.request(DEVICES)
      return drives.map(({ drive_id, path_on_host }) => ({ id: drive_id, path: path_on_host }))
    },
    reopenDrive: (id, path) => change(reopenRequest(id, path)),
    limitDrive: (id, limits) => change(limitDriveRequest(id, limits)),
    limitNetwork: (limits) => change(limitNetworkRequest(limits)),
  }
}

/** The request for another size of the balloon, in MiB. Pure. */
export function balloonRequest(mebibytes: number): ApiRequest {
  return patch("/balloon", "balloon", { amount_mib: mebibytes })
}

/** The request for so many MiB beyond the memory that the guest was booted with. Pure. */
export function memoryRequest(mebibytes: number): ApiRequest {
  return patch("/hotplug/memory", "memory", { requested_size_mib: mebibytes })
}

// --- internal ---

/** The request that has a drive use another file, or look anew at how long its own is (PATCH /drives). Pure. */
function reopenRequest(id: string, path: JailPath): ApiRequest {
  return patch(`/drives/${id}`, `drives.${id}`, { drive_id: id, path_on_host: path })
}

/** The request that changes how much a drive may do. A bucket of size 0 lifts its limit. Pure. */
function limitDriveRequest(id: string, limits: DriveLimits): ApiRequest {
  return patch(`/drives/${id}`, `drives.${id}`, { drive_id: id, ...limits })
}

/** The request that changes how much the network card may do. Pure. */
function limitNetworkRequest(limits: NetworkLimits): ApiRequest {
  return patch(`/network-interfaces/${CARD}`, "network", { iface_id: CARD, ...limits })
}

function patch(path: string, setting: string, body: Readonly<Record<string, unknown>>): ApiRequest {
  return { method: "PATCH", path, setting, body, refusal: "VM_FAILED" }
}
