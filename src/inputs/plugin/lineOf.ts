/**
 * The line (from 1) of a plugin's source that writes the field at this path, or undefined when the text does not show
 * it beyond doubt: each name of the path must be written as a key exactly once after the one before it.
 */
export function lineOf(text: string, path: readonly (string | number)[]): number | undefined {
  let at = 0
  for (const key of path) {
    if (typeof key === "number") continue
    const pattern = new RegExp(`(?<![\\w.$])(?:${literal(key)}|"${literal(key)}"|'${literal(key)}')\\s*[:(,}\\n]`, "g")
    const found = [...text.slice(at).matchAll(pattern)]
    const [only] = found
    if (found.length !== 1 || only === undefined) return undefined
    at += only.index
  }
  return at === 0 ? undefined : text.slice(0, at).split("\n").length
}

function literal(key: string): string {
  return key.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
}
