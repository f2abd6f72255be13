// Reads TypeScript far enough to find functions' parameters: comments and texts blanked out, brackets matched.

/** A function, method or function type in a text. */
export interface Signature {
  /** From 1. */
  readonly line: number
  /** Undefined for an arrow or a type. */
  readonly name: string | undefined
  readonly parameters: readonly string[]
}

/** Every function, method, arrow and function type of a text with its positional parameters. */
export function signaturesOf(text: string): readonly Signature[] {
  const code = blanked(text)
  const found: Signature[] = []
  for (let open = code.indexOf("("); open !== -1; open = code.indexOf("(", open + 1)) {
    const close = closing(code, open)
    const parameters = parts(code.slice(open + 1, close))
    const name = /(\w+)\s*(?:<[^()]*>)?\s*$/.exec(code.slice(Math.max(0, open - LOOK_BACK_CHARS), open))?.[1]
    const arrow = /^\s*(?::[^;{}()=]*)?=>/.test(code.slice(close + 1, close + 200))
    if (!parameters.every(arrow ? isParameter : isTyped) || parameters.length === 0) continue
    const keyword = name === undefined || /^(?:function|async|return|constructor)$/.test(name)
    found.push({ line: code.slice(0, open).split("\n").length, name: keyword || arrow ? undefined : name, parameters })
  }
  return found
}

/** Whether a parameter is an options object: one that is taken apart, or whose type is an object's or is called so. */
export function isOptions(parameter: string): boolean {
  return /^(?:\{|\w*(?:options|detail)\w*\??\s*:|\w+\??\s*:\s*(?:\{|\w*(?:Options|Detail)\b))/i.test(parameter)
}

// --- internal ---

/** A function's name and what stands before its parameters fit into this. */
const LOOK_BACK_CHARS = 120

/** The text without what is in comments and quotes: none of it is code. Lines stay lines. */
function blanked(text: string): string {
  const pattern =
    /\/\/.*|\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\[\s\S])*`|=>|\/(?![/*=])(?:[^/\\\n[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*(?=[.,;)\s])/g
  return text.replace(pattern, (word) =>
    word === "=>" ? word : word.replace(/[^\n]/g, /^\/[/*]/.test(word) ? " " : "_"),
  )
}

function closing(code: string, open: number): number {
  let depth = 0
  for (let at = open; at < code.length; at++) {
    if ("([{".includes(code[at] ?? "")) depth++
    else if (")]}".includes(code[at] ?? "") && --depth === 0) return at
  }
  return code.length
}

/** What commas outside of all brackets divide; types' angle brackets are brackets too, arrows are none. */
function parts(list: string): readonly string[] {
  const found = [""]
  let depth = 0
  for (const [index, char] of [...list].entries()) {
    if ("([{<".includes(char)) depth++
    if (")]}".includes(char) || (char === ">" && list[index - 1] !== "=")) depth--
    if (char === "," && depth === 0) found.push("")
    else found[found.length - 1] += char
  }
  return found.map((part) => part.trim()).filter((part) => part !== "")
}

const NAME = String.raw`(?:(?:readonly\s+)?(?:\.\.\.)?\w+\??|\{[\s\S]*?\}|\[[\s\S]*?\])`
const TYPED = new RegExp(`^${NAME}\\s*:[^:]`)
const PARAMETER = new RegExp(`^${NAME}\\s*(?::[^:]|=[^=>]|$)`)

function isTyped(part: string): boolean {
  return TYPED.test(part) || /^\w+\s*=\s/.test(part)
}

function isParameter(part: string): boolean {
  return PARAMETER.test(part)
}
