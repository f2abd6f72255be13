import { perform } from "./perform.ts"
import { root } from "./tree.ts"

/** Does what the words of a command line ask for. Returns the exit status. */
export function main(words: readonly string[]): Promise<number> {
  return perform(words, root)
}
