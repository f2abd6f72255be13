import { Failure } from "../../base/terms/failure.ts"

// The room helper: what a user's banger and root's helper say to each other.
// The rule: a line is hostile until it is parsed: bounded in every way, and nothing in it is ignored.

/** How much a line of JSON may hold. */
export interface JsonBounds {
  /** How many objects and lists may be within each other. */
  readonly depth: number
  /** How many members an object or a list may have. */
  readonly members: number
}

/**
 * Reads one JSON object as RFC 8259 has it, and refuses what parsers differ on or programs trip over: a key twice in an object, the
 * keys `__proto__`, `constructor` and `prototype`, numbers that are not finite, unpaired surrogates, what is nested deeper or is
 * larger than the bounds. Objects have no prototype to be polluted. Throws BAD_FILE, which says where but repeats nothing of the
 * text. Pure.
 */
export function strictJson(text: string, bounds: JsonBounds): Readonly<Record<string, unknown>> {
  return scannerOf(text, bounds)()
}

// --- internal ---

const FORBIDDEN = new Set(["__proto__", "constructor", "prototype"])

/** Every token of JSON but strings, which begin with a quote; sticky: each match begins where the last one ended. */
const SPACE = /[ \t\n\r]*/y
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*"/y
const WORDS = [
  ["true", true],
  ["false", false],
  ["null", null],
] as const

function scannerOf(text: string, bounds: JsonBounds): () => Readonly<Record<string, unknown>> {
  let at = 0

  function readDocument(): Readonly<Record<string, unknown>> {
    space()
    if (text[at] !== "{") throw bad("an object is expected")
    const object = readObject(1)
    if (at !== text.length) throw bad("something follows the object")
    return object
  }

  function readValue(depth: number): unknown {
    const first = text[at]
    if (first === "{") return readObject(depth + 1)
    if (first === "[") return readList(depth + 1)
    if (first === '"') return readString()
    for (const [word, value] of WORDS) {
      if (!text.startsWith(word, at)) continue
      at += word.length
      space()
      return value
    }
    return readNumber()
  }

  function readObject(depth: number): Readonly<Record<string, unknown>> {
    const object: Record<string, unknown> = Object.create(null)
    let count = 0
    readMembers(depth, "}", () => {
      if (text[at] !== '"') throw bad("a key is expected")
      const key = readString()
      if (FORBIDDEN.has(key)) throw bad("a key that no object may have")
      if (Object.hasOwn(object, key)) throw bad("a key that its object has already")
      take(":")
      object[key] = readValue(depth)
      count = counted(count)
    })
    return object
  }

  function readList(depth: number): readonly unknown[] {
    const list: unknown[] = []
    readMembers(depth, "]", () => {
      list.push(readValue(depth))
      counted(list.length - 1)
    })
    return list
  }

  /** Reads what stands between an opening bracket, which comes next, and the closing one, with commas between. */
  function readMembers(depth: number, closing: "}" | "]", member: () => void): void {
    if (depth > bounds.depth) throw bad(`nested deeper than ${bounds.depth}`)
    at++
    space()
    if (text[at] !== closing) {
      member()
      while (text[at] === ",") {
        take(",")
        member()
      }
    }
    take(closing)
  }

  function counted(count: number): number {
    if (count >= bounds.members) throw bad(`more than ${bounds.members} members`)
    return count + 1
  }

  function readString(): string {
    const text: string = JSON.parse(match(STRING, "a string is expected"))
    if (!text.isWellFormed()) throw bad("an unpaired surrogate")
    return text
  }

  function readNumber(): number {
    const number = Number(match(NUMBER, "a value is expected"))
    if (!Number.isFinite(number)) throw bad("a number that is too large")
    return number
  }

  function take(character: string): void {
    if (text[at] !== character) throw bad(`${character} is expected`)
    at++
    space()
  }

  function space(): void {
    match(SPACE, "")
  }

  function match(pattern: RegExp, expected: string): string {
    pattern.lastIndex = at
    const [found] = pattern.exec(text) ?? []
    if (found === undefined) throw bad(expected)
    at += found.length
    if (pattern !== SPACE) space()
    return found
  }

  function bad(why: string): Failure {
    return new Failure("BAD_FILE", `not a message: ${why}, at character ${at}`, { subject: "message" })
  }

  return readDocument
}
