import { existsSync, readFileSync } from "node:fs"

export function sha256(data: string | Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(data).digest("hex")
}

/** Undefined if there is no such file, which equals no checksum. */
export function sha256OfFile(path: string): string | undefined {
  return existsSync(path) ? sha256(readFileSync(path)) : undefined
}
