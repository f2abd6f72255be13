import * as v from "valibot"

const whole = v.pipe(v.number("a whole number"), v.integer("a whole number"), v.minValue(0, "a whole number from 0 on"))
const flag = v.boolean("true or false")
const bucket = v.strictObject({ size: whole, refill_time: whole, one_time_burst: v.optional(whole) })
const rateLimiter = v.strictObject({ bandwidth: v.optional(bucket), ops: v.optional(bucket) })
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
  vsock: v.optional(v.strictObject({ guest_cid: v.pipe(whole, v.minValue(3, "3 or more")) })),
  entropy: v.optional(v.strictObject({ rate_limiter: v.optional(rateLimiter) })),
  balloon: v.optional(
    v.strictObject({ amount_mib: whole, deflate_on_oom: flag, stats_polling_interval_s: v.optional(whole) }),
  ),
})
