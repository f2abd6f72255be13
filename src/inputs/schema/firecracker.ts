import * as v from "valibot"
import { cpuConfig } from "./cpuConfig.ts"
import { path, repeated } from "./path.ts"

const WHOLE = "a whole number from 0 on"
const whole = v.pipe(v.number(WHOLE), v.safeInteger(WHOLE), v.minValue(0, WHOLE))
function between(least: number, most: number) {
  const words = `a whole number from ${least} to ${most}`
  return v.pipe(v.number(words), v.integer(words), v.minValue(least, words), v.maxValue(most, words))
}
const flag = v.boolean("true or false")
const bucket = v.strictObject({ size: whole, refill_time: whole, one_time_burst: v.optional(whole) })
const rateLimiter = v.strictObject({ bandwidth: v.optional(bucket), ops: v.optional(bucket) })
const LINK_LOCAL = 'a link-local IPv4 address: "169.254.169.254"'
const JSON_WORDS = "an object that JSON can write"
const PARTUUID = "a partition's unique id"
const ID_WORDS = "letters, digits and _, at most 64 long"
const id = v.pipe(v.string(ID_WORDS), v.regex(/^\w{1,64}$/, ID_WORDS))
/** More of them have no interrupt line of their own. */
const DEVICES_MAX_COUNT = 16
const TEMPLATES = ["None", "C3", "T2", "T2S", "T2CL", "T2A", "V1N1"] as const
const MIB_BYTES = 1024 * 1024
/** What the guest's addresses have room for (PAST_64BITS_MMIO_SIZE of Firecracker's layout.rs). */
const HOTPLUG_MAX_BYTES = 512 * 1024 ** 3
const SOCKET_WORDS = 'the absolute path of a unix socket: "/run/handler.sock"'
const LEVELS = ["Off", "Error", "Warning", "Info", "Debug", "Trace"] as const

/** Metadata for the guest. */
export const mmdsData = v.pipe(v.record(v.string(), v.unknown(), JSON_WORDS), v.check(isJson, JSON_WORDS))

/**
 * Settings in the words of Firecracker's API (its firecracker.yaml), one object for each request that takes them:
 * host/firecracker makes the requests' bodies of these and of what banger adds.
 */
export const SETTINGS = {
  machine: v.strictObject({
    smt: v.optional(flag),
    track_dirty_pages: v.optional(flag),
    huge_pages: v.optional(v.picklist(["None", "2M"], '"None" or "2M"')),
    cpu_template: v.optional(v.picklist(TEMPLATES, listed(TEMPLATES))),
  }),
  cpu_config: cpuConfig,
  pmem: v.strictObject({
    root_device: v.optional(flag),
    read_only: v.optional(flag),
    rate_limiter: v.optional(rateLimiter),
  }),
  vhost_user: v.strictObject({
    root_device: v.optional(flag),
    partuuid: v.optional(v.pipe(v.string(PARTUUID), v.regex(/^[\da-z-]{1,64}$/i, PARTUUID))),
    cache_type: v.optional(v.picklist(["Unsafe", "Writeback"], '"Unsafe" or "Writeback"')),
  }),
  drive: v.strictObject({
    partuuid: v.optional(v.pipe(v.string(PARTUUID), v.regex(/^[\da-z-]{1,64}$/i, PARTUUID))),
    cache_type: v.optional(v.picklist(["Unsafe", "Writeback"], '"Unsafe" or "Writeback"')),
    io_engine: v.optional(v.picklist(["Sync", "Async"], '"Sync" or "Async"')),
    rate_limiter: v.optional(rateLimiter),
  }),
  network: v.strictObject({
    rx_rate_limiter: v.optional(rateLimiter),
    tx_rate_limiter: v.optional(rateLimiter),
    mtu: v.optional(between(68, 65_535)),
  }),
  vsock: v.strictObject({ guest_cid: between(3, 0xffff_fffe) }),
  entropy: v.strictObject({ rate_limiter: v.optional(rateLimiter) }),
  balloon: v.strictObject({
    amount_mib: whole,
    deflate_on_oom: flag,
    stats_polling_interval_s: v.optional(between(0, 65_535)),
    free_page_hinting: v.optional(flag),
    free_page_reporting: v.optional(flag),
  }),
  memory_hotplug: v.strictObject({
    total_size_mib: between(128, HOTPLUG_MAX_BYTES / MIB_BYTES),
    block_size_mib: v.optional(between(2, HOTPLUG_MAX_BYTES / MIB_BYTES)),
    slot_size_mib: v.optional(between(128, HOTPLUG_MAX_BYTES / MIB_BYTES)),
  }),
  mmds: v.strictObject({
    version: v.optional(v.picklist(["V1", "V2"], '"V1" or "V2"')),
    ipv4_address: v.optional(v.pipe(v.string(LINK_LOCAL), v.ipv4(LINK_LOCAL), v.startsWith("169.254.", LINK_LOCAL))),
    imds_compat: v.optional(flag),
  }),
  logger: v.strictObject({
    level: v.optional(v.picklist(LEVELS, listed(LEVELS))),
    show_level: v.optional(flag),
    show_log_origin: v.optional(flag),
    module: v.optional(v.string("a module's name")),
  }),
  serial: v.strictObject({ rate_limiter: bucket }),
} as const

/** What a plugin may set of Firecracker alone. */
export const firecrackerSpec = v.strictObject({
  machine: v.optional(SETTINGS.machine),
  drives: v.optional(v.record(v.string(), SETTINGS.drive, "settings by the drive's id")),
  network: v.optional(SETTINGS.network),
  vsock: v.optional(SETTINGS.vsock),
  entropy: v.optional(SETTINGS.entropy),
  balloon: v.optional(SETTINGS.balloon),
  cpu_config: v.optional(SETTINGS.cpu_config),
  pmem: v.optional(devices(v.strictObject({ id, path, ...SETTINGS.pmem.entries }))),
  vhost_user: v.optional(devices(v.strictObject({ id, socket: path, ...SETTINGS.vhost_user.entries }))),
  memory_hotplug: v.optional(SETTINGS.memory_hotplug),
  mmds: v.optional(v.strictObject({ ...SETTINGS.mmds.entries, data: v.optional(mmdsData) })),
  logger: v.optional(SETTINGS.logger),
  metrics: v.optional(flag),
  serial: v.optional(SETTINGS.serial),
  /** Virtio devices on a PCI bus, by `--enable-pci`. */
  pci: v.optional(flag),
  /** The socket of a handler of page faults, for a restore. */
  uffd: v.optional(v.pipe(v.string(SOCKET_WORDS), v.regex(/^\/[^\0]+$/, SOCKET_WORDS))),
  /** The jailer's own. */
  resource_limit: v.optional(
    v.strictObject({
      fsize: v.optional(between(1, Number.MAX_SAFE_INTEGER)),
      "no-file": v.optional(between(64, 1_048_576)),
    }),
  ),
})

/** Settings that Firecracker alone knows. */
export type FirecrackerSettings = v.InferOutput<typeof firecrackerSpec>

// --- internal ---

/** A list of devices, each with an id of its own. */
function devices<Device extends v.GenericSchema<unknown, { readonly id: string }>>(device: Device) {
  return v.pipe(
    v.array(device, "a list of devices"),
    v.maxLength(DEVICES_MAX_COUNT, `at most ${DEVICES_MAX_COUNT} devices`),
    v.check((all) => repeated(all.map((each) => each.id)) === undefined, "a different id for each device"),
  )
}

function listed(words: readonly string[]): string {
  return words.map((word) => `"${word}"`).join(", ")
}

function isJson(value: Record<string, unknown>): boolean {
  try {
    JSON.stringify(value)
    return true
  } catch {
    // A circle, or a BigInt.
    return false
  }
}
