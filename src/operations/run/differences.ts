import { shownText } from "../../base/terms/printable.ts"

/** No more differences are told, and no more of a value, in characters; of these so many stand before where it differs. */
const TOLD_MAX_COUNT = 5
const VALUE_MAX_COUNT = 60
const BEFORE_COUNT = 20

/** What a plugin gives its guest in confidence: passwords and keys, which are for no log. */
const CONFIDENTIAL = "firecracker.mmds.data"

/**
 * What differs between a VM that runs and one that was asked for, a line each: `memory is "256M", not "512M"`. Of objects their
 * parts are compared, by the plugin's own words; of lists the whole. The metadata of a guest is not told, and nothing in the words
 * breaks or fakes a line. Pure.
 */
export function differences(runs: unknown, asked: unknown): readonly string[] {
  const found = unlike(runs, asked, "")
  const more = found.length - TOLD_MAX_COUNT
  return more <= 1 ? found : [...found.slice(0, TOLD_MAX_COUNT), `and ${more} more`]
}

// --- internal ---

function unlike(runs: unknown, asked: unknown, at: string): readonly string[] {
  if (at === CONFIDENTIAL) return Bun.deepEquals(runs, asked) ? [] : [`${at} is another`]
  if ((isRecord(runs) && isRecord(asked)) || CONFIDENTIAL.startsWith(`${at}.`)) {
    const [one, other] = [partsOf(runs), partsOf(asked)]
    const keys = new Set([...Object.keys(one), ...Object.keys(other)])
    return [...keys].flatMap((key) => unlike(one[key], other[key], at === "" ? key : `${at}.${key}`))
  }
  if (Bun.deepEquals(runs, asked)) return []
  const [one, other] = [textOf(runs), textOf(asked)]
  const from = firstDifference(one, other)
  return [shownText(`${at} is ${told(one, from)}, not ${told(other, from)}`).replaceAll("\n", "\\n")]
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

function partsOf(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {}
}

function textOf(value: unknown): string {
  return value === undefined ? "left out" : JSON.stringify(value)
}

function firstDifference(one: string, other: string): number {
  let at = 0
  while (at < one.length && one[at] === other[at]) at++
  return at
}

/** A long text is cut to where it differs. */
function told(text: string, differs: number): string {
  const from = text.length <= VALUE_MAX_COUNT || differs < VALUE_MAX_COUNT - BEFORE_COUNT ? 0 : differs - BEFORE_COUNT
  const rest = text.slice(from, from + VALUE_MAX_COUNT)
  return `${from === 0 ? "" : "…"}${rest}${from + rest.length < text.length ? "…" : ""}`
}
