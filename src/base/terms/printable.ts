const strict = new TextDecoder("utf-8", { fatal: true })
const lenient = new TextDecoder()

/** Bytes of a path as text: bytes that are not UTF-8 become U+FFFD. `exact`: nothing was lost. Pure. */
export function textOfPath(path: Uint8Array): { readonly text: string; readonly exact: boolean } {
  try {
    return { text: strict.decode(path), exact: true }
  } catch {
    return { text: lenient.decode(path), exact: false }
  }
}

/**
 * A path for one line of a terminal. A path with characters that could break or fake the line (control characters,
 * changes of text direction) is put in double quotes, these characters as `\n` or `\x1b`. Pure.
 */
export function printablePath(path: Uint8Array): string {
  const { text, exact } = textOfPath(path)
  if (exact && !ODD.test(text)) return text
  const shown = exact ? text : Array.from(path, (byte) => String.fromCharCode(byte)).join("")
  const unsafe = exact ? ODD_EACH : /[^\x20-\x7e]|["\\]/g
  return `"${shown.replace(unsafe, escaped)}"`
}

/** A message for a terminal, names in it included: characters that could break or fake a line are escaped. Pure. */
export function shownText(text: string): string {
  return text.replace(/[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu, escaped)
}

/** A reported path for a line on a terminal. */
export function shownPath(named: { readonly path: string; readonly pathBase64?: string | undefined }): string {
  const { path, pathBase64: bytes } = named
  return printablePath(bytes === undefined ? new TextEncoder().encode(path) : Buffer.from(bytes, "base64"))
}

/**
 * Words in one line, however many there are, however long, and whatever is in them: `a, b, c`, `a, b and 7 more`; `none`. They may
 * be somebody else's. Pure.
 */
export function listed(words: readonly string[], atMost = LISTED_MAX_COUNT): string {
  const shown = words.slice(0, atMost).map((word) => shownText(word.slice(0, WORD_MAX_COUNT)).replaceAll("\n", "\\n"))
  const more = words.length - shown.length
  return `${shown.join(", ") || "none"}${more > 0 ? ` and ${more} more` : ""}`
}

// --- internal ---

/** Of more words than these, the first ones stand for all. */
const LISTED_MAX_COUNT = 10

/** A word of somebody else's is cut here. */
const WORD_MAX_COUNT = 64

const ODD = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}"\\]/u
const ODD_EACH = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}"\\]/gu
const SHORT: Readonly<Record<string, string>> = { "\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\" }

function escaped(character: string): string {
  const code = character.codePointAt(0) ?? 0
  return SHORT[character] ?? (code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`)
}
