/** What scripts/compile.ts fills in; nothing of it is there when banger runs from its source. */
declare const BANGER_TARGET: string | undefined
declare const BANGER_DEFAULT_RELEASES: string | undefined
declare const BANGER_PUBLIC_KEY: string | undefined

/** How this banger was built. */
export const BUILD = {
  compiled: typeof BANGER_TARGET === "string",
  /** As archives are named after it: `linux-x64-baseline`. */
  target:
    typeof BANGER_TARGET === "string" ? BANGER_TARGET : process.arch === "arm64" ? "linux-arm64" : "linux-x64-baseline",
  /** Where releases are; empty in a build that is not a release. */
  releases: typeof BANGER_DEFAULT_RELEASES === "string" ? BANGER_DEFAULT_RELEASES : "",
  /** The base64 of the raw Ed25519 key that signs them; empty in a build that is not a release. */
  publicKey: typeof BANGER_PUBLIC_KEY === "string" ? BANGER_PUBLIC_KEY : "",
} as const
