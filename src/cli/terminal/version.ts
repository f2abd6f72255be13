import pkg from "../../../package.json" with { type: "json" }

/** The commit the binary was built from; `scripts/build.ts` fills it in. */
declare const BANGER_COMMIT: string | undefined

/** The release, and the commit it was built from. */
export const version = {
  version: pkg.version,
  commit: typeof BANGER_COMMIT === "string" ? BANGER_COMMIT : "from source",
} as const

/** `banger 0.1.0 (1a2b3c4)`. */
export function versionText(): string {
  return `banger ${version.version} (${version.commit})`
}
