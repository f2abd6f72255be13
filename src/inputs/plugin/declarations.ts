import { readFileSync } from "node:fs"

/** Reads banger.d.ts. Called as a macro, so that its text is in the binary. */
export function readDeclarations(): string {
  return readFileSync(new URL("./banger.d.ts", import.meta.url), "utf8")
}
