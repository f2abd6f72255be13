import { usageError } from "../../base/terms/failure.ts"
import { formatDuration, parseDuration } from "../../base/terms/quantity.ts"

/** A limit of a day, in milliseconds: timers cannot count beyond 24.8 days, and then ring at once. */
const DAY_MS = 24 * 3_600_000

/** What an option's duration may be, in milliseconds. */
interface Bounds {
  readonly mostMs?: number
  readonly zero?: boolean
}

/**
 * The milliseconds that an option was given as `500ms`, `90s`, `10m`, `2h` or `1d`; undefined when it was not given. Throws
 * USAGE for anything else, for 0 unless it may be `zero`, and for more than `mostMs` (24h).
 */
export function durationOf(option: string, text: string, bounds?: Bounds): number
export function durationOf(option: string, text: string | undefined, bounds?: Bounds): number | undefined
export function durationOf(
  option: string,
  text: string | undefined,
  { mostMs = DAY_MS, zero = false }: Bounds = {},
): number | undefined {
  if (text === undefined) return undefined
  const ms = parseDuration(text)
  const most = mostMs % DAY_MS === 0 && mostMs > DAY_MS ? `${mostMs / DAY_MS}d` : formatDuration(mostMs)
  const wrong =
    ms === undefined
      ? "not a duration"
      : ms > mostMs
        ? `longer than ${most}`
        : ms === 0 && !zero
          ? "not above 0"
          : undefined
  if (ms !== undefined && wrong === undefined) return ms
  const hint = `use a number and a unit, at most ${most}: 500ms, 90s, 10m, 2h`
  throw usageError(`${option} ${text}: ${wrong}`, { hint, subject: option })
}

/** The number that an option was given. Throws USAGE for anything else. */
export function countOf(option: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw usageError(`${option} ${text} is not a number`, { hint: `give one like ${option}=100`, subject: option })
}
