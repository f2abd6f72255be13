import type { ApiRequest } from "./firecrackerApi.ts"
import type { Boot, Disk, SnapshotFiles } from "./vmm.ts"

/** Settings that Firecracker alone knows, in the words of its API. */
export interface FirecrackerSettings {
  readonly machine?: Readonly<Record<string, unknown>> | undefined
  /** By the drive's id. */
  readonly drives?: Readonly<Record<string, Readonly<Record<string, unknown>>>> | undefined
  readonly vsock?: Readonly<Record<string, unknown>> | undefined
  readonly entropy?: Readonly<Record<string, unknown>> | undefined
  readonly balloon?: Readonly<Record<string, unknown>> | undefined
}

/** The name of the vsock's socket in the VMM's root directory. */
export const VSOCK = "vsock.sock"

/**
 * The requests that configure a boot, in order, before the one that starts it. `root` is the directory, as Firecracker
 * sees it, that the vsock's socket goes into. Pure.
 */
export function bootRequests(boot: Boot, settings: FirecrackerSettings, root: string): readonly ApiRequest[] {
  const { machine, vsock, entropy, balloon } = settings
  return [
    put("/machine-config", "machine-config", { vcpu_count: boot.vcpus, mem_size_mib: boot.memoryMiB, ...machine }),
    put("/boot-source", "kernel", {
      kernel_image_path: boot.kernel,
      boot_args: boot.bootArgs,
      ...(boot.initrd === undefined ? {} : { initrd_path: boot.initrd }),
    }),
    ...boot.disks.map((disk, index) => driveRequest(disk, index, settings)),
    ...(vsock === undefined ? [] : [put("/vsock", "firecracker.vsock", { ...vsock, uds_path: `${root}${VSOCK}` })]),
    ...(entropy === undefined ? [] : [put("/entropy", "firecracker.entropy", entropy)]),
    ...(balloon === undefined ? [] : [put("/balloon", "firecracker.balloon", balloon)]),
  ]
}

/** The requests that bring a boot to run: its configuration and its start, or the snapshot it goes on from. Pure. */
export function startRequests(boot: Boot, settings: FirecrackerSettings, root: string): readonly ApiRequest[] {
  return boot.restore === undefined ? [...bootRequests(boot, settings, root), START] : [loadRequest(boot.restore)]
}

/** The requests around a snapshot: nothing moves while it is made. */
export const PAUSE: ApiRequest = { method: "PATCH", path: "/vm", setting: "pause", body: { state: "Paused" } }
export const RESUME: ApiRequest = { method: "PATCH", path: "/vm", setting: "resume", body: { state: "Resumed" } }

/** The request that writes a full snapshot to these files. */
export function snapshotRequest({ state, memory }: SnapshotFiles): ApiRequest {
  const body = { snapshot_type: "Full", snapshot_path: state, mem_file_path: memory }
  return put("/snapshot/create", "snapshot", body)
}

/** The request that starts what was configured. */
export const START: ApiRequest = put("/actions", "boot", { action_type: "InstanceStart" })

/** The request that presses Ctrl-Alt-Del. */
export const CTRL_ALT_DEL: ApiRequest = put("/actions", "Ctrl-Alt-Del", { action_type: "SendCtrlAltDel" })

// --- internal ---

function put(path: string, setting: string, body: Readonly<Record<string, unknown>>): ApiRequest {
  return { method: "PUT", path, setting, body }
}

function loadRequest({ state, memory }: SnapshotFiles): ApiRequest {
  const mem_backend = { backend_type: "File", backend_path: memory }
  return put("/snapshot/load", "restore", { snapshot_path: state, mem_backend, resume_vm: true })
}

function driveRequest({ id, path, readonly, root }: Disk, index: number, { drives }: FirecrackerSettings): ApiRequest {
  const body = { drive_id: id, path_on_host: path, is_root_device: root, is_read_only: readonly, ...drives?.[id] }
  return put(`/drives/${id}`, `drives[${index}]`, body)
}
