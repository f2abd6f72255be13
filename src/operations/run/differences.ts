/** No more differences are told, and no more of a value, in characters. */
const TOLD_MAX_COUNT = 5
const VALUE_MAX_COUNT = 60

/**
 * What differs between a VM that runs and one that was asked for, a line each: `memory is "256M", not "512M"`. Of objects their
 * parts are compared, by the plugin's own words; of lists the whole. Pure.
 */
export function differences(runs: unknown, asked: unknown): readonly string[] {
  const found = unlike(runs, asked, "")
  const more = found.length - TOLD_MAX_COUNT
  return more <= 1 ? found : [...found.slice(0, TOLD_MAX_COUNT), `and ${more} more`]
}

// --- internal ---

function unlike(runs: unknown, asked: unknown, at: string): readonly string[] {
  if (isRecord(runs) && isRecord(asked)) {
    const keys = new Set([...Object.keys(runs), ...Object.keys(asked)])
    return [...keys].flatMap((key) => unlike(runs[key], asked[key], at === "" ? key : `${at}.${key}`))
  }
  return Bun.deepEquals(runs, asked) ? [] : [`${at} is ${told(runs)}, not ${told(asked)}`]
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

function told(value: unknown): string {
  if (value === undefined) return "left out"
  const text = JSON.stringify(value)
  return text.length > VALUE_MAX_COUNT ? `${text.slice(0, VALUE_MAX_COUNT)}…` : text
}
