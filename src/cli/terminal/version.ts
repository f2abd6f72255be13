import pkg from "../../../package.json" with { type: "json" }

/** The commit the binary was built from; `scripts/build.ts` fills it in. */
declare const BANGER_COMMIT: string | undefined

/** `banger 0.1.0 (1a2b3c4)`. */
export function versionText(): string {
  return `banger ${pkg.version} (${typeof BANGER_COMMIT === "string" ? BANGER_COMMIT : "from source"})`
}
