import { CARD } from "../../base/terms/address.ts"
import type { JailPath } from "../../base/terms/path.ts"
import type { AddedCard, AddedDrive, Devices, DriveLimits, NetworkLimits } from "../vmm/vmm.ts"
import type { Api, ApiRequest } from "./api.ts"
import { requireBody } from "./bodies.ts"
import { INSTANCE, PRESENT } from "./replies.ts"
import { parseRelease, requireHotplug } from "./version.ts"

/** The devices of a running Firecracker. A body that its API would not take is refused before it is asked. */
export function devicesOf(api: Api): Devices {
  const change = async (request: ApiRequest) => {
    requireBody(request)
    await api.request(request)
  }
  return {
    async drives() {
      const { drives } = await api.request(PRESENT)
      return drives.map(({ drive_id, path_on_host }) => ({ id: drive_id, path: path_on_host }))
    },
    reopenDrive: (id, path) => change(reopenRequest(id, path)),
    limitDrive: (id, limits) => change(limitDriveRequest(id, limits)),
    async cards() {
      const present = await api.request(PRESENT)
      return present["network-interfaces"].map(({ iface_id }) => iface_id)
    },
    limitCard: (id, limits) => change(limitCardRequest(id, limits)),
    requirePlugging: () => requirePlugging(api),
    async addDrive(drive) {
      await requirePlugging(api)
      await change(addDriveRequest(drive))
    },
    async removeDrive(id) {
      await requirePlugging(api)
      await api.request(removeRequest("drives", id))
    },
    addCard: (card) => change(addCardRequest(card)),
    async removeCard(id) {
      await requirePlugging(api)
      await api.request(removeRequest("network-interfaces", id))
    },
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

async function requirePlugging(api: Api): Promise<void> {
  const { vmm_version } = await api.request(INSTANCE)
  requireHotplug(parseRelease("Firecracker", `Firecracker v${vmm_version}`) ?? [0, 0, 0])
}

function addDriveRequest({ id, path, readonly }: AddedDrive): ApiRequest {
  const body = { drive_id: id, path_on_host: path, is_root_device: false, is_read_only: readonly }
  return { method: "PUT", path: `/drives/${id}`, setting: `drives.${id}`, body, refusal: "VM_FAILED" }
}

function addCardRequest({ id, tap, mac, ...settings }: AddedCard): ApiRequest {
  const body = { iface_id: id, host_dev_name: tap, guest_mac: mac, ...settings }
  return { method: "PUT", path: `/network-interfaces/${id}`, setting: `network.${id}`, body, refusal: "VM_FAILED" }
}

function removeRequest(kind: "drives" | "network-interfaces", id: string): ApiRequest {
  const setting = `${kind === "drives" ? "drives" : "network"}.${id}`
  return { method: "DELETE", path: `/${kind}/${id}`, setting, refusal: "VM_FAILED" }
}

/** The request that has a drive use another file, or look anew at how long its own is (PATCH /drives). Pure. */
function reopenRequest(id: string, path: JailPath): ApiRequest {
  return patch(`/drives/${id}`, `drives.${id}`, { drive_id: id, path_on_host: path })
}

/** The request that changes how much a drive may do. A bucket of size 0 lifts its limit. Pure. */
function limitDriveRequest(id: string, limits: DriveLimits): ApiRequest {
  return patch(`/drives/${id}`, `drives.${id}`, { drive_id: id, ...limits })
}

/** The request that changes how much a network card may do. Pure. */
function limitCardRequest(id: string, limits: NetworkLimits): ApiRequest {
  const setting = id === CARD ? "network" : `network.${id}`
  return patch(`/network-interfaces/${id}`, setting, { iface_id: id, ...limits })
}

function patch(path: string, setting: string, body: Readonly<Record<string, unknown>>): ApiRequest {
  return { method: "PATCH", path, setting, body, refusal: "VM_FAILED" }
}
