import * as v from "valibot"
import { Failure } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"
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

const bucket = v.strictObject({ size: whole(0), refill_time: whole(0), one_time_burst: v.optional(whole(0)) })
const rateLimiter = v.strictObject({ bandwidth: v.optional(bucket), ops: v.optional(bucket) })
const id = v.pipe(text, v.regex(/^\w{1,64}$/, "letters, digits and _"))

/** Of what Firecracker's API takes (its firecracker.yaml), all that is sent here; a path that ends with `/` takes an id. */
const BODIES: Readonly<Record<string, v.GenericSchema>> = {
  "/machine-config": v.strictObject({
    vcpu_count: whole(1, 32),
    mem_size_mib: whole(1),
    smt: v.optional(flag),
    track_dirty_pages: v.optional(flag),
    huge_pages: v.optional(v.picklist(["None", "2M"], '"None" or "2M"')),
  }),
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
    cache_type: v.optional(v.picklist(["Unsafe", "Writeback"], '"Unsafe" or "Writeback"')),
    io_engine: v.optional(v.picklist(["Sync", "Async"], '"Sync" or "Async"')),
    rate_limiter: v.optional(rateLimiter),
  }),
  "/network-interfaces/": v.strictObject({
    iface_id: id,
    // IFNAMSIZ, with its NUL.
    host_dev_name: v.pipe(text, v.regex(/^[^\s/:%]{1,15}$/, "the name of an interface, at most 15 bytes")),
    guest_mac: v.optional(v.pipe(text, v.regex(/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i, "a MAC address"))),
    mtu: v.optional(whole(68, 65_535)),
    rx_rate_limiter: v.optional(rateLimiter),
    tx_rate_limiter: v.optional(rateLimiter),
  }),
  "/vsock": v.strictObject({ guest_cid: whole(3, 0xffff_fffe), uds_path: path }),
  "/entropy": v.strictObject({ rate_limiter: v.optional(rateLimiter) }),
  "/balloon": v.strictObject({
    amount_mib: whole(0),
    deflate_on_oom: flag,
    stats_polling_interval_s: v.optional(whole(0, 65_535)),
    free_page_hinting: v.optional(flag),
    free_page_reporting: v.optional(flag),
  }),
  "/mmds/config": v.strictObject({
    network_interfaces: v.pipe(v.array(id), v.minLength(1, "at least one interface")),
    version: v.optional(v.picklist(["V1", "V2"], '"V1" or "V2"')),
    ipv4_address: v.optional(v.pipe(text, v.ipv4("an IPv4 address"), v.startsWith("169.254.", "a link-local address"))),
    imds_compat: v.optional(flag),
  }),
  "/mmds": v.record(text, v.unknown()),
  "/logger": v.strictObject({
    level: v.optional(text),
    show_level: v.optional(flag),
    show_log_origin: v.optional(flag),
    module: v.optional(text),
  }),
  "/metrics": v.strictObject({ metrics_path: path }),
  "/serial": v.strictObject({ rate_limiter: v.optional(bucket) }),
  "/actions": v.strictObject({ action_type: v.picklist(["InstanceStart", "SendCtrlAltDel", "FlushMetrics"]) }),
  "/vm": v.strictObject({ state: v.picklist(["Paused", "Resumed"]) }),
  "/snapshot/create": v.strictObject({ snapshot_type: v.picklist(["Full"]), snapshot_path: path, mem_file_path: path }),
  "/snapshot/load": v.strictObject({
    snapshot_path: path,
    mem_backend: v.strictObject({ backend_type: v.picklist(["File"]), backend_path: path }),
    resume_vm: v.optional(flag),
    network_overrides: v.optional(v.array(v.strictObject({ iface_id: id, host_dev_name: text }))),
  }),
}

/** Throws a failure that names the setting when a request is not one that Firecracker's API takes. */
export function requireBody({ path: target, body, setting }: ApiRequest<unknown>): void {
  const schema = BODIES[target] ?? BODIES[target.replace(/[^/]*$/, "")]
  if (schema === undefined) throw new Failure("FAILED", `${setting}: nothing is known of ${target}`)
  const result = v.safeParse(schema, body)
  const [issue] = result.issues ?? []
  if (issue === undefined) return
  const key = v.getDotPath(issue)
  throw new Failure("FAILED", `${setting}: ${key === null ? "" : `${key}: `}${wordsFor(issue, key ?? "", schema)}`)
}

// --- internal ---

function wordsFor(issue: v.BaseIssue<unknown>, key: string, schema: v.GenericSchema): string {
  if (issue.type !== "strict_object") return issue.message
  if (issue.expected !== "never") return "missing"
  const like = "entries" in schema ? nearest(key, Object.keys(schema.entries as object)) : undefined
  return like === undefined ? "unknown" : `unknown; did you mean ${like}?`
}
