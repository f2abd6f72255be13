/** Whether this is the compiled binary. There every module but the entry points of workers is one file at its root. */
export const IS_COMPILED = import.meta.url.startsWith("file:///$bunfs/")

/** The URL of a worker, or of another entry point, by its path from the repository's root. */
export function entryUrl(path: string): string {
  return new URL(IS_COMPILED ? `./${path}` : `../../../${path}`, import.meta.url).href
}
