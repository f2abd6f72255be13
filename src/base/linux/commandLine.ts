/**
 * Whether a kernel command line gives a parameter a value, as the kernel reads it: `-` and `_` in names are one, and what stands
 * behind `--` is init's. `is` judges the value; default: any. Pure.
 */
export function hasParameter(line: string, name: string, is: (value: string) => boolean = () => true): boolean {
  return wordsOf(line).words.some((word) => sameName(word.name, name) && word.value !== undefined && is(word.value))
}

/** Whether a kernel command line has a word that takes no value, as `quiet`. Pure. */
export function hasFlag(line: string, name: string): boolean {
  return wordsOf(line).words.some((word) => sameName(word.name, name) && word.value === undefined)
}

/** The value of a parameter, the last one's as the kernel takes it; undefined where there is none. Pure. */
export function parameterOf(line: string, name: string): string | undefined {
  return wordsOf(line).words.findLast((word) => sameName(word.name, name))?.value
}

/**
 * A command line with more words for the kernel: behind the kernel's own, before what is init's, and before a quote that nothing
 * ends, which would take them into its value. What stood there stays as it is. Pure.
 */
export function withParameters(line: string, words: readonly string[]): string {
  if (words.length === 0) return line
  const { end } = wordsOf(line)
  const [own, rest] = [line.slice(0, end), line.slice(end)]
  const before = own === "" || SPACE_LAST.test(own) ? own : `${own} `
  return `${before}${words.join(" ")}${rest === "" ? "" : ` ${rest}`}`
}

/**
 * The kernel's own part of a command line, in which each quote has an end, and what is behind its `--`; undefined where it has
 * none. Pure.
 */
export function partsOf(line: string): { readonly own: string; readonly init: string | undefined } {
  const { init } = wordsOf(line)
  const own = line.slice(0, init?.at ?? line.length).replace(SPACES_LAST, "")
  const ended = quotesIn(own) % 2 === 0 ? own : `${own}"`
  return { own: ended, init: init === undefined ? undefined : line.slice(init.behind).replace(SPACES_FIRST, "") }
}

// --- internal ---

interface Word {
  readonly name: string
  /** Without a `=` there is none. */
  readonly value: string | undefined
}

/** The kernel's spaces (isspace()) that are ASCII: others are parts of a word. */
const SPACES_FIRST = /^[ \t\n\v\f\r]+/
const SPACES_LAST = /[ \t\n\v\f\r]+$/
const SPACE_LAST = /[ \t\n\v\f\r]$/

/** A word: pieces without a space and a quote, and pieces in quotes; the last quote may have no end. */
const WORD = /(?:[^ \t\n\v\f\r"]|"[^"]*(?:"|$))+/g

interface Words {
  readonly words: readonly Word[]
  /** Where more words can stand: behind these, before what is not the kernel's, or is a word without an end. */
  readonly end: number
  /** Where the word before init's ones stands, and where it ends. */
  readonly init: { readonly at: number; readonly behind: number } | undefined
}

/** The kernel's words, and where they end (next_arg() and parse_args() of Linux): quotes hide spaces, and are no part of a value. */
function wordsOf(line: string): Words {
  const words: Word[] = []
  for (const { 0: text, index: at } of line.matchAll(WORD)) {
    if (quotesIn(text) % 2 === 1) return { words, end: at, init: undefined }
    const word = parsed(text)
    // Also in quotes.
    if (word.name === "--" && word.value === undefined)
      return { words, end: at, init: { at, behind: at + text.length } }
    words.push(word)
  }
  return { words, end: line.length, init: undefined }
}

function quotesIn(text: string): number {
  return text.split('"').length - 1
}

/** A quote around the whole word, or around its value, is taken away. A name has a letter at least: `=x=y` is one that `=x` names. */
function parsed(text: string): Word {
  const whole = text.startsWith('"') ? text.slice(1).replace(/"$/, "") : text
  const at = whole.indexOf("=", 1)
  if (at === -1) return { name: whole, value: undefined }
  const value = whole.slice(at + 1)
  return { name: whole.slice(0, at), value: value.startsWith('"') ? value.slice(1).replace(/"$/, "") : value }
}

function sameName(one: string, other: string): boolean {
  return one.replaceAll("-", "_") === other.replaceAll("-", "_")
}
