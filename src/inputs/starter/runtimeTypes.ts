import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

/** Where each package of types is below a plugin's `.banger`: so its types find one another as packages do. */
const PACKAGES = {
  "bun-types": "node_modules/@types/bun",
  "@types/node": "node_modules/@types/node",
  "undici-types": "node_modules/undici-types",
} as const

/** The types of Bun and Node, from the first path of `unpackTypes` on. */
export const RUNTIME_TYPES = `.banger/${PACKAGES["bun-types"]}/index.d.ts`

/**
 * The types of what a plugin may use beside banger's own: Bun's and Node's, as their makers publish them, with their licences; packed
 * as one text. Called as a macro, so that it is in the binary.
 */
export function packTypes(): string {
  const files = Object.entries(PACKAGES).flatMap(([name, to]) => {
    const from = new URL(`../../../node_modules/${name}`, import.meta.url).pathname
    return readdirSync(from, { recursive: true, encoding: "utf8" })
      .filter((path) => /(?:\.d\.[cm]?ts|^package\.json|^LICENSE.*|^README\.md)$/.test(path))
      .sort()
      .map((path) => [join(to, path), readFileSync(join(from, path), "utf8")] as const)
  })
  return Buffer.from(Bun.zstdCompressSync(JSON.stringify(files), { level: 6 })).toString("base64")
}

/** The files of `packTypes`, by their paths below `.banger`. */
export function unpackTypes(packed: string): readonly (readonly [path: string, text: string])[] {
  return JSON.parse(new TextDecoder().decode(Bun.zstdDecompressSync(Buffer.from(packed, "base64"))))
}
