import { copyFileSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs"
import { join } from "node:path"

/**
 * Puts a release into a directory as install.sh and `banger update` look for it, so that any web server, or file:///DIR, serves it:
 * `download/vVERSION` has its files, `latest/download` what tells which one is the latest. Earlier releases there stay. Each
 * appears whole or not at all, the latest one last.
 */
export function addToMirror(release: string, mirror: string, version: string): void {
  place(release, join(mirror, "download", `v${version}`), readdirSync(release))
  place(release, join(mirror, "latest/download"), ["SHA256SUMS", "install.sh"])
}

// --- internal ---

function place(from: string, to: string, names: readonly string[]): void {
  const [next, before] = [`${to}.new`, `${to}.old`]
  for (const left of [next, before]) rmSync(left, { recursive: true, force: true })
  mkdirSync(next, { recursive: true })
  for (const name of names) copyFileSync(join(from, name), join(next, name))
  try {
    renameSync(to, before)
  } catch {
    // There is none yet.
  }
  renameSync(next, to)
  rmSync(before, { recursive: true, force: true })
}
