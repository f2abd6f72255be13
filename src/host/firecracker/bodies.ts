import * as v from "valibot"
import { Failure } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"
import { mmdsData, SETTINGS } from "../../inputs/schema/firecracker.ts"
import type { ApiRequest } from "./api.ts"

const text = v.string("a text")
const flag = v.boolean("true or false")
const path = v.pipe(v.string("a path"), v.nonEmpty("a path"))

function whole(least: number, most = Number.MAX_SAFE_INTEGER) {
  const words =
    most === Number.MAX_SAFE_INTEGER ? `a whole number from ${least} on` : `a whole number from ${least} to ${most}`
  return v.pipe(
    v.number(words),
    v.check((n) => Number.isSafeInteger(n) && n >= least && n <= most, words),
  )
}

const id = v.pipe(text, v.regex(/^\w{1,64}$/, "letters, digits and _"))

/** The body of each request: what the plugin sets, and what banger adds. A path that ends with `/` is followed by an id. */
const BODIES: Readonly<Record<string, v.GenericSchema>> = {
  "/machine-config": v.strictObject({
    vcpu_count: whole(1, 32),
    mem_size_mib: whole(1),
    ...SETTINGS.machine.entries,
  }),
  "/cpu-config": SETTINGS.cpu_config,
  "/boot-source": v.strictObject({
    kernel_image_path: path,
    initrd_path: v.optional(path),
    boot_args: v.pipe(text, v.maxBytes(2048, "at most 2048 bytes")),
  }),
  "/drives/": v.strictObject({
    drive_id: id,
    path_on_host: path,
    is_root_device: flag,
    is_read_only: flag,
    ...SETTINGS.drive.entries,
  }),
  // Such a drive has no path, and no id can have this name.
  "/drives/vhost-user": v.strictObject({
    drive_id: id,
    socket: path,
    is_root_device: flag,
    partuuid: SETTINGS.vhost_user.entries.partuuid,
    cache_type: SETTINGS.vhost_user.entries.cache_type,
  }),
  "/pmem/": v.strictObject({ id, path_on_host: path, ...SETTINGS.pmem.entries }),
  "/network-interfaces/": v.strictObject({
    iface_id: id,
    // IFNAMSIZ, with its NUL.
    host_dev_name: v.pipe(text, v.regex(/^[^\s/:%]{1,15}$/, "the name of an interface, at most 15 bytes")),
    guest_mac: v.optional(v.pipe(text, v.regex(/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i, "a MAC address"))),
    ...SETTINGS.network.entries,
  }),
  "/vsock": v.strictObject({ uds_path: path, ...SETTINGS.vsock.entries }),
  "/entropy": SETTINGS.entropy,
  "/balloon": SETTINGS.balloon,
  "/hotplug/memory": SETTINGS.memory_hotplug,
  "/mmds/config": v.strictObject({
    network_interfaces: v.pipe(v.array(id), v.minLength(1, "at least one interface")),
    ...SETTINGS.mmds.entries,
  }),
  "/mmds": mmdsData,
  "/logger": SETTINGS.logger,
  "/metrics": v.strictObject({ metrics_path: path }),
  "/serial": SETTINGS.serial,
  "/actions": v.strictObject({ action_type: v.picklist(["InstanceStart", "SendCtrlAltDel", "FlushMetrics"]) }),
  "/snapshot/create": v.strictObject({
    snapshot_type: v.picklist(["Full", "Diff"]),
    snapshot_path: path,
    mem_file_path: path,
  }),
  "/snapshot/load": v.strictObject({
    snapshot_path: path,
    mem_backend: v.strictObject({ backend_type: v.picklist(["File", "Uffd"]), backend_path: path }),
    track_dirty_pages: v.optional(flag),
    enable_diff_snapshots: v.optional(flag),
    network_overrides: v.optional(v.array(v.strictObject({ iface_id: id, host_dev_name: text }))),
  }),
}

/** The bodies of requests that change what is there already. */
const CHANGES: Readonly<Record<string, v.GenericSchema>> = {
  "/drives/": v.strictObject({
    drive_id: id,
    path_on_host: v.optional(path),
    rate_limiter: SETTINGS.drive.entries.rate_limiter,
  }),
  "/network-interfaces/": v.strictObject({
    iface_id: id,
    rx_rate_limiter: SETTINGS.network.entries.rx_rate_limiter,
    tx_rate_limiter: SETTINGS.network.entries.tx_rate_limiter,
  }),
  "/balloon": v.strictObject({ amount_mib: whole(0) }),
  "/hotplug/memory": v.strictObject({ requested_size_mib: whole(0) }),
  "/vm": v.strictObject({ state: v.picklist(["Paused", "Resumed"]) }),
}

/** Throws a failure that names the setting when a request is not one that Firecracker's API takes. */
export function requireBody({ method, path: target, body, setting }: ApiRequest<unknown>): void {
  const list = target.replace(/[^/]*$/, "")
  const kind = body !== undefined && list === "/drives/" && "socket" in body ? "vhost-user" : ""
  const bodies = method === "PATCH" ? CHANGES : BODIES
  const schema = bodies[target] ?? bodies[`${list}${kind}`]
  // This would be a fault of ours.
  if (schema === undefined) throw new Error(`${setting}: nothing is known of ${target}`)
  const result = v.safeParse(schema, body)
  const [issue] = result.issues ?? []
  if (issue === undefined) return
  const key = v.getDotPath(issue)
  const message = `${setting}: ${key === null ? "" : `${key}: `}${wordsFor(issue, key ?? "", schema)}`
  throw new Failure("BAD_PLUGIN", message, { subject: key === null ? setting : `${setting}.${key}` })
}

// --- internal ---

function wordsFor(issue: v.BaseIssue<unknown>, key: string, schema: v.GenericSchema): string {
  if (issue.type !== "strict_object") return issue.message
  if (issue.expected !== "never") return "missing"
  const like = "entries" in schema ? nearest(key, Object.keys(schema.entries as object)) : undefined
  return like === undefined ? "unknown" : `unknown; did you mean ${like}?`
}
