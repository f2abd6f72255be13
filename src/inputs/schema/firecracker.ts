import * as v from "valibot"

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
const LEVELS = ["Off", "Error", "Warning", "Info", "Debug", "Trace"] as const

/** Settings that Firecracker alone knows, in its own words (firecracker.yaml of its API). */
export const firecrackerSpec = v.strictObject({
  machine: v.optional(
    v.strictObject({
      smt: v.optional(flag),
      track_dirty_pages: v.optional(flag),
      huge_pages: v.optional(v.picklist(["None", "2M"], '"None" or "2M"')),
    }),
  ),
  drives: v.optional(
    v.record(
      v.string(),
      v.strictObject({
        cache_type: v.optional(v.picklist(["Unsafe", "Writeback"], '"Unsafe" or "Writeback"')),
        io_engine: v.optional(v.picklist(["Sync", "Async"], '"Sync" or "Async"')),
        rate_limiter: v.optional(rateLimiter),
      }),
      "settings by the drive's id",
    ),
  ),
  network: v.optional(
    v.strictObject({
      rx_rate_limiter: v.optional(rateLimiter),
      tx_rate_limiter: v.optional(rateLimiter),
      mtu: v.optional(between(68, 65_535)),
    }),
  ),
  vsock: v.optional(v.strictObject({ guest_cid: between(3, 0xffff_fffe) })),
  entropy: v.optional(v.strictObject({ rate_limiter: v.optional(rateLimiter) })),
  balloon: v.optional(
    v.strictObject({
      amount_mib: whole,
      deflate_on_oom: flag,
      stats_polling_interval_s: v.optional(between(0, 65_535)),
      free_page_hinting: v.optional(flag),
      free_page_reporting: v.optional(flag),
    }),
  ),
  mmds: v.optional(
    v.strictObject({
      version: v.optional(v.picklist(["V1", "V2"], '"V1" or "V2"')),
      ipv4_address: v.optional(v.pipe(v.string(LINK_LOCAL), v.ipv4(LINK_LOCAL), v.startsWith("169.254.", LINK_LOCAL))),
      imds_compat: v.optional(flag),
      data: v.optional(v.pipe(v.record(v.string(), v.unknown(), JSON_WORDS), v.check(isJson, JSON_WORDS))),
    }),
  ),
  logger: v.optional(
    v.strictObject({
      level: v.optional(v.picklist(LEVELS, LEVELS.map((level) => `"${level}"`).join(", "))),
      show_level: v.optional(flag),
      show_log_origin: v.optional(flag),
      module: v.optional(v.string("a module's name")),
    }),
  ),
  metrics: v.optional(flag),
  serial: v.optional(v.strictObject({ rate_limiter: bucket })),
  resource_limit: v.optional(
    v.strictObject({
      fsize: v.optional(between(1, Number.MAX_SAFE_INTEGER)),
      "no-file": v.optional(between(64, 1_048_576)),
    }),
  ),
})

// --- internal ---

function isJson(value: Record<string, unknown>): boolean {
  try {
    JSON.stringify(value)
    return true
  } catch {
    // A circle, or a BigInt.
    return false
  }
}
