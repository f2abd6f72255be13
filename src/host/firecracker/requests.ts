import { partsOf } from "../../base/linux/commandLine.ts"
import { CARD } from "../../base/terms/address.ts"
import type { JailPath } from "../../base/terms/path.ts"
import type { FirecrackerSettings } from "../../inputs/schema/firecracker.ts"
import type { Boot, Disk, SnapshotFiles } from "../vmm/vmm.ts"
import type { ApiRequest } from "./api.ts"
import type { Release } from "./version.ts"

/** The files that Firecracker itself makes or writes. */
export interface OwnFiles {
  readonly vsock: JailPath
  readonly metrics: JailPath
}

/** The requests that set what a boot needs before it is loaded or started, in order. Pure. */
export function settingRequests(boot: Boot, files: OwnFiles): readonly ApiRequest[] {
  return boot.restore === undefined ? bootRequests(boot, files) : outputRequests(boot.firecracker, files)
}

/**
 * The requests that bring a boot to run when all is set: its start, or the loading of its snapshot. `release`: the one whose
 * words they are in; undefined: the newest. Pure.
 */
export function actingRequests(boot: Boot, release?: Release): readonly ApiRequest[] {
  if (boot.restore === undefined) return [startRequest(boot.firecracker)]
  return [loadRequest(boot.restore, boot, release), RUN_RESTORED]
}

/** The request that lets a guest run whose snapshot is loaded. Apart from the loading: until it is made, the guest has not run. */
export const RUN_RESTORED: ApiRequest = { method: "PATCH", path: "/vm", setting: "restore", body: { state: "Resumed" } }

/** The requests before and after a snapshot: the guest stands still while it is taken. */
export const PAUSE: ApiRequest = {
  ...{ method: "PATCH", path: "/vm", setting: "pause", body: { state: "Paused" }, refusal: "VM_FAILED" },
}
export const RESUME: ApiRequest = {
  ...{ method: "PATCH", path: "/vm", setting: "resume", body: { state: "Resumed" }, refusal: "VM_FAILED" },
}

/**
 * The request that writes a snapshot to these files; `onBase`: the memory file is there already, and only the pages that
 * changed since are written to it.
 */
export function snapshotRequest({ state, memory }: SnapshotFiles, onBase = false): ApiRequest {
  const body = { snapshot_type: onBase ? "Diff" : "Full", snapshot_path: state, mem_file_path: memory }
  return { ...put("/snapshot/create", "snapshot", body), refusal: "VM_FAILED" }
}

/** The request that presses Ctrl-Alt-Del. */
export const CTRL_ALT_DEL: ApiRequest = {
  ...put("/actions", "Ctrl-Alt-Del", { action_type: "SendCtrlAltDel" }),
  refusal: "VM_FAILED",
}

// --- internal ---

/**
 * A kernel command line so that Firecracker, which adds words of its own, does so where the kernel reads them: before the first ` -- `,
 * else at the end. Pure.
 */
function bootArgsFor(line: string): string {
  const { own, init } = partsOf(line)
  return init === undefined ? own : `${own} -- ${init}`
}

function bootRequests(boot: Boot, files: OwnFiles): readonly ApiRequest[] {
  const settings = boot.firecracker
  const { machine, cpu_config, vsock, entropy, balloon, memory_hotplug } = settings
  return [
    ...outputRequests(settings, files),
    put("/machine-config", "machine-config", { vcpu_count: boot.vcpus, mem_size_mib: boot.memoryMiB, ...machine }),
    // Behind the machine's, which would take its place.
    ...optional("/cpu-config", "firecracker.cpu_config", cpu_config),
    put("/boot-source", "kernel", {
      kernel_image_path: boot.kernel,
      boot_args: bootArgsFor(boot.bootArgs),
      ...(boot.initrd === undefined ? {} : { initrd_path: boot.initrd }),
    }),
    ...boot.disks.map((disk, index) => driveRequest(disk, index, settings)),
    ...vhostRequests(settings),
    ...pmemRequests(settings),
    ...networkRequests(boot),
    ...optional("/vsock", "firecracker.vsock", vsock && { ...vsock, uds_path: files.vsock }),
    ...optional("/entropy", "firecracker.entropy", entropy),
    ...optional("/balloon", "firecracker.balloon", balloon),
    ...optional("/hotplug/memory", "firecracker.memory_hotplug", memory_hotplug),
    ...mmdsRequests(settings),
  ]
}

/** The request that starts what was configured. Some settings are looked at no earlier, and are refused with it. */
function startRequest({ machine, cpu_config, pmem, memory_hotplug }: FirecrackerSettings): ApiRequest {
  const blame = [
    { set: machine?.cpu_template, words: /CPU template/, setting: "machine.cpu_template" },
    { set: cpu_config, words: /KVM capabilities|guest config|MSR|one_reg/i, setting: "cpu_config" },
    { set: pmem, words: /pmem/i, setting: "pmem" },
    { set: memory_hotplug, words: /allocate guest resource|hotplug/i, setting: "memory_hotplug" },
  ]
    .filter(({ set }) => set !== undefined)
    .map(({ words, setting }) => ({ words, setting: `firecracker.${setting}` }))
  return { ...put("/actions", "boot", { action_type: "InstanceStart" }), ...(blame.length === 0 ? {} : { blame }) }
}

type Fields = Readonly<Record<string, unknown>>

function put(path: string, setting: string, body: Fields): ApiRequest {
  return { method: "PUT", path, setting, body }
}

function optional(path: string, setting: string, body: Fields | undefined): readonly ApiRequest[] {
  return body === undefined ? [] : [put(path, setting, body)]
}

/** Firecracker's log, metrics and the console: set first, also before a snapshot is loaded. */
function outputRequests({ logger, metrics, serial }: FirecrackerSettings, files: OwnFiles): readonly ApiRequest[] {
  return [
    // Without a level Firecracker would go back to Info.
    ...optional("/logger", "firecracker.logger", logger && { level: "Warning", ...logger }),
    ...optional("/metrics", "firecracker.metrics", metrics === true ? { metrics_path: files.metrics } : undefined),
    ...optional("/serial", "firecracker.serial", serial),
  ]
}

/** Drives that another program serves at a socket. */
function vhostRequests({ vhost_user = [] }: FirecrackerSettings): readonly ApiRequest[] {
  return vhost_user.map(({ id, root_device = false, ...rest }, index) =>
    put(`/drives/${id}`, `firecracker.vhost_user[${index}]`, { drive_id: id, is_root_device: root_device, ...rest }),
  )
}

/** Files that the guest sees as persistent memory. */
function pmemRequests({ pmem = [] }: FirecrackerSettings): readonly ApiRequest[] {
  return pmem.map(({ path, ...rest }, index) =>
    put(`/pmem/${rest.id}`, `firecracker.pmem[${index}]`, { path_on_host: path, ...rest }),
  )
}

function networkRequests({ network, firecracker }: Boot): readonly ApiRequest[] {
  if (!network || network.tap === undefined) return []
  const { tap, mac, mtu } = network
  const body = {
    iface_id: CARD,
    host_dev_name: tap,
    ...(mac === undefined ? {} : { guest_mac: mac }),
    ...(mtu === undefined ? {} : { mtu }),
    ...firecracker.network,
  }
  return [put(`/network-interfaces/${CARD}`, "firecracker.network", body)]
}

/** The metadata that the guest reads at a link-local address, through its network card. */
function mmdsRequests({ mmds }: FirecrackerSettings): readonly ApiRequest[] {
  if (mmds === undefined) return []
  const { data, ...config } = mmds
  return [
    put("/mmds/config", "firecracker.mmds", { network_interfaces: [CARD], ...config }),
    ...optional("/mmds", "firecracker.mmds.data", data),
  ]
}

/** Whether changed pages are tracked is not part of a snapshot: it is told anew, by a word that is another since 1.13. */
function loadRequest({ state, memory, uffd }: SnapshotFiles, boot: Boot, [, minor]: Release = [1, 13, 0]): ApiRequest {
  const { network, firecracker } = boot
  const mem_backend = { backend_type: uffd === true ? "Uffd" : "File", backend_path: memory }
  const tap = network ? network.tap : undefined
  const other = tap === undefined ? {} : { network_overrides: [{ iface_id: CARD, host_dev_name: tap }] }
  const tracked = firecracker.machine?.track_dirty_pages === true
  const tracking = tracked ? { [minor < 13 ? "enable_diff_snapshots" : "track_dirty_pages"]: true } : {}
  return put("/snapshot/load", "restore", { snapshot_path: state, mem_backend, ...other, ...tracking })
}

function driveRequest(
  { id, path, readonly, root, persist }: Disk,
  index: number,
  { drives }: FirecrackerSettings,
): ApiRequest {
  const body = {
    ...{ drive_id: id, path_on_host: path, is_root_device: root, is_read_only: readonly },
    // By default it does not tell its guest that there is anything to flush, and syncs nothing.
    ...(persist === undefined ? {} : { cache_type: "Writeback" }),
    ...drives?.[id],
  }
  return put(`/drives/${id}`, `drives[${index}]`, body)
}
