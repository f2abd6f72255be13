import { readFileSync } from "node:fs"

/** The types of a plugin, as `banger init` writes them. Called as a macro, so that their text is in the binary. */
export function readDeclarations(): string {
  const files = ["../plugin/banger.d.ts", "../plugin/firecracker.d.ts"]
  return files.map((file) => readFileSync(new URL(file, import.meta.url), "utf8")).join("\n")
}
