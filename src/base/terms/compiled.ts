import { resolve } from "node:path"

/** Whether this is the compiled binary. There every module but the entry points of workers is one file at its root. */
export const IS_COMPILED = import.meta.url.startsWith("file:///$bunfs/")

/** The URL of a worker, or of another entry point, by its path from the repository's root. */
export function entryUrl(path: string): string {
  return new URL(IS_COMPILED ? `./${path}` : `../../../${path}`, import.meta.url).href
}

/** A line of a stack that names a file: `at boom (/p/helper.ts:3:12)`, `at /p/plugin.ts:9:5`. */
const FRAME = /^\s*at (?:.*\()?(?:file:\/\/)?(\/.*:\d+:\d+)\)?$/

/** Where this program's own code is: in the binary, or the source that it runs from. */
const OWN = ["/$bunfs/", `${resolve(import.meta.dir, "../..")}/`]

/**
 * Where in a user's code an error was thrown, as `/path/plugin.ts:12:5`: their own line rather than one of a package that it called.
 * Undefined where the stack does not tell. Pure.
 */
export function placeOf(error: unknown): string | undefined {
  const places = (stackOf(error) ?? []).map(placeIn).filter((place) => place !== undefined)
  return places.find((place) => !place.includes("/node_modules/")) ?? places[0]
}

/** An error's stack with the user's frames first, and this program's behind them. Pure. */
export function usersFirst(stack: string): string {
  const lines = stack.split("\n")
  const own = lines.filter((line) => /^\s*at /.test(line) && placeIn(line) === undefined)
  return [...lines.filter((line) => !own.includes(line)), ...own].join("\n")
}

/** What was thrown, after the place where it was. */
export function withPlace(error: unknown, words: string): string {
  const place = placeOf(error)
  return place === undefined ? words : `${place}: ${words}`
}

// --- internal ---

function stackOf(error: unknown): readonly string[] | undefined {
  return error instanceof Error ? error.stack?.split("\n") : undefined
}

function placeIn(line: string): string | undefined {
  const place = FRAME.exec(line)?.[1]
  return place === undefined || OWN.some((own) => place.startsWith(own)) ? undefined : place
}
