import { existsSync, readFileSync } from "node:fs"

export function sha256(data: string | Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(data).digest("hex")
}

/** A file's checksum; undefined, which equals no checksum, when there is no file. */
export function sha256OfFile(path: string): string | undefined {
  return existsSync(path) ? sha256(readFileSync(path)) : undefined
}
