import { isAbsolute } from "node:path"
import * as v from "valibot"
import { Failure } from "../../base/terms/failure.ts"
import { SETTINGS } from "../../inputs/schema/firecracker.ts"
import { cardSpec } from "../../inputs/schema/network.ts"

const DRIVE_ID_WORDS = "a-z, 0-9 and _, at most 20 long"
const NOTHING = "nothing is to change"

/** What hooks say of a drive's limits. */
const { rate_limiter } = SETTINGS.drive.entries
export const driveLimits = v.strictObject({ rate_limiter: v.nonOptional(rate_limiter, "missing") })

/** What hooks say of a network card's limits. */
export const cardLimits = v.pipe(
  v.strictObject({
    id: v.optional(v.string("a network card's id")),
    rx_rate_limiter: SETTINGS.network.entries.rx_rate_limiter,
    tx_rate_limiter: SETTINGS.network.entries.tx_rate_limiter,
  }),
  v.check(({ id: _, ...limits }) => Object.values(limits).some((limit) => limit !== undefined), NOTHING),
)

/** A drive that hooks add to a running VM. */
export const addedDrive = v.strictObject({
  id: v.pipe(v.string(DRIVE_ID_WORDS), v.regex(/^[a-z0-9_]{1,20}$/, DRIVE_ID_WORDS)),
  path: v.string("a path"),
  readonly: v.optional(v.boolean("true or false")),
})

/** A network card that hooks add to a running VM. */
export const addedCard = cardSpec

/** What a hook said, checked. Throws BAD_PLUGIN, which names the setting. */
export function parse<T>(schema: v.GenericSchema<unknown, T>, settings: unknown): T {
  const result = v.safeParse(schema, settings)
  if (result.success) return result.output
  const [issue] = result.issues
  const key = v.getDotPath(issue)
  const unknown = issue.type === "strict_object" && issue.expected === "never"
  const words = unknown ? "unknown" : issue.type === "strict_object" ? "missing" : issue.message
  throw new Failure("BAD_PLUGIN", key === null ? words : `${key}: ${words}`, { subject: key ?? undefined })
}

/** The id of a drive or a network card, as a hook gave it. */
export function requireId(id: unknown, what: "drive" | "network card"): string {
  if (typeof id === "string") return id
  throw new Failure("BAD_PLUGIN", `${Bun.inspect(id)} is not a ${what}'s id`)
}

/** The absolute path that a hook gave. */
export function requirePath(path: unknown): string {
  if (typeof path === "string" && isAbsolute(path)) return path
  throw new Failure("BAD_PLUGIN", `${Bun.inspect(path)} is not an absolute path`)
}
