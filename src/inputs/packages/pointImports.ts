/** A word that a module imports by, where it stands in the text. */
interface Place {
  readonly verb: string
  /** Of the word's first letter, and behind its last. */
  readonly from: number
  readonly to: number
  readonly word: string
}

/**
 * The text of a module with other words for what it imports, by `target`; undefined leaves a word as it is. Lines stay. Only what
 * `parser` takes for an import is changed, never a string or a comment that looks like one.
 */
export function pointImports(
  text: string,
  parser: Pick<Bun.Transpiler, "scanImports">,
  target: (word: string) => string | undefined,
): string {
  const wanted = placesIn(text).flatMap((place) => {
    const to = place.verb === "require" ? undefined : target(place.word)
    return to === undefined ? [] : [{ place, to }]
  })
  if (wanted.length === 0) return text
  // Each gets a name of its own: those that the parser then names are imports, the others are in strings or comments.
  const marked = replaced(
    text,
    wanted.map(({ place }, index) => ({ place, to: `${MARK}${index}` })),
  )
  const real = new Set(parser.scanImports(marked).map(({ path }) => path))
  return replaced(
    text,
    wanted.filter((_, index) => real.has(`${MARK}${index}`)),
  )
}

/** Where a module's text imports by this word first: a line and a column, from 1. Undefined where the text does not show it. */
export function placeOfImport(
  text: string,
  word: string,
): { readonly line: number; readonly column: number } | undefined {
  const place = placesIn(text).find((each) => each.word === word)
  if (place === undefined) return undefined
  const lines = text.slice(0, place.from).split("\n")
  return { line: lines.length, column: (lines.at(-1)?.length ?? 0) + 1 }
}

// --- internal ---

const MARK = "banger-import-"

const GAP = String.raw`(?:\s|/\*(?:[^*]|\*(?!/))*\*/)*`
const IMPORTS = new RegExp(String.raw`\b(from|import|require)${GAP}(?:\(${GAP})?(["'\`])((?:(?!\2)[^\\\n])+)\2`, "g")

/** Everything that looks like an import. */
function placesIn(text: string): readonly Place[] {
  return [...text.matchAll(IMPORTS)].map((match) => {
    const [all, verb = "", , word = ""] = match
    const to = match.index + all.length - 1
    return { verb, from: to - word.length, to, word }
  })
}

function replaced(text: string, changes: readonly { readonly place: Place; readonly to: string }[]): string {
  let at = 0
  const parts: string[] = []
  for (const { place, to } of changes) {
    // Between quotes of any of the three kinds.
    parts.push(text.slice(at, place.from), JSON.stringify(to).slice(1, -1).replace(/['`$]/g, "\\$&"))
    at = place.to
  }
  return parts.join("") + text.slice(at)
}
