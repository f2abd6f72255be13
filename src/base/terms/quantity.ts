const BYTES: Record<string, number> = { "": 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 }
const MILLISECONDS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Bytes in `256M`, `1.5GiB`, `4096`; units are powers of 1024. Undefined for anything else, or past 2^53. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:iB|B)?|B)?$/i.exec(text.trim())
  if (!match) return undefined
  const bytes = Number(match[1]) * (BYTES[(match[2] ?? "").toUpperCase()] ?? Number.NaN)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** Milliseconds in `500ms`, `10s`, `1.5m`, `2h`, `1d`; a bare number is not accepted. Undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/.exec(text.trim())
  if (!match) return undefined
  const milliseconds = Math.round(Number(match[1]) * (MILLISECONDS[match[2] ?? ""] ?? Number.NaN))
  return Number.isSafeInteger(milliseconds) ? milliseconds : undefined
}

/** `268435456` as `256M`: the largest unit that leaves at most one decimal. */
export function formatSize(bytes: number): string {
  for (const unit of ["T", "G", "M", "K"]) {
    const value = bytes / (BYTES[unit] ?? 1)
    if (value >= 1) return `${Number.isInteger(value) ? value : value.toFixed(1)}${unit}`
  }
  return `${bytes}B`
}

/** `1610612736` as `1536M`: in the largest unit that says it exactly, so that it can be asked for. */
export function formatExactSize(bytes: number): string {
  const unit = ["T", "G", "M", "K"].find((each) => bytes > 0 && bytes % (BYTES[each] ?? 1) === 0)
  return unit === undefined ? `${bytes}B` : `${bytes / (BYTES[unit] ?? 1)}${unit}`
}

/** `1500` as `1.5s`, `65000` as `1.1m`. */
export function formatDuration(milliseconds: number): string {
  for (const unit of ["h", "m", "s"]) {
    const value = milliseconds / (MILLISECONDS[unit] ?? 1)
    if (value >= 1) return `${Number.isInteger(value) ? value : value.toFixed(1)}${unit}`
  }
  return `${Math.round(milliseconds)}ms`
}
