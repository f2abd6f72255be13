import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs"
import { join } from "node:path"
import { run } from "./run.ts"
import { sha256OfFile } from "./sha256.ts"

export type Package = { name: string; version: string; architecture: string; sha256: string; depends: string[] }

/** What the distribution offers under a name now, or undefined if it has no such package. */
export function lookUp(name: string): Package | undefined {
  const shown = Bun.spawnSync(["apt-cache", "show", "--no-all-versions", name], { stderr: "ignore" })
  const fields = new Map<string, string>()
  for (const line of shown.stdout.toString().split("\n\n")[0]?.split("\n") ?? []) {
    const colon = line.indexOf(": ")
    if (colon > 0 && !line.startsWith(" ")) fields.set(line.slice(0, colon), line.slice(colon + 2))
  }
  const [version, architecture, sha256] = [fields.get("Version"), fields.get("Architecture"), fields.get("SHA256")]
  if (!version || !architecture || !sha256) return undefined
  return {
    name: fields.get("Package") ?? name,
    version,
    architecture,
    sha256,
    depends: dependencyNames(fields.get("Depends")),
  }
}

/** Updates apt's package lists. Only root can; others get a failure that says what a person must type. */
export function refreshLists(): void {
  if (process.getuid?.() !== 0) {
    throw new Error("the package lists are missing or too old; run `sudo apt-get update`, then this again")
  }
  run(["apt-get", "update"])
}

/** The package's file, from the cache if it was fetched before. Its checksum is always the one that apt knows. */
export function fetchPackage(found: Package, cache: string): string {
  const file = join(cache, `${found.name}_${found.version.replaceAll(":", "%3a")}_${found.architecture}.deb`)
  if (sha256OfFile(file) === found.sha256) return file
  mkdirSync(cache, { recursive: true })
  const fresh = mkdtempSync(join(cache, "fetch-"))
  try {
    // apt's own sandbox user cannot write into a private directory, and nothing here needs another user.
    run(["apt-get", "-o", "APT::Sandbox::User=root", "download", `${found.name}=${found.version}`], { cwd: fresh })
    const [downloaded] = readdirSync(fresh)
    if (!downloaded) throw new Error(`apt-get downloaded no file for ${found.name} ${found.version}`)
    const sha256 = sha256OfFile(join(fresh, downloaded))
    if (sha256 !== found.sha256) {
      throw new Error(
        `${downloaded} has sha256 ${sha256}, but apt says ${found.sha256}; run \`apt-get update\` and try again`,
      )
    }
    renameSync(join(fresh, downloaded), file)
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
  return file
}

// --- internal ---

/** `a (>= 1), b | c` → a, b: of alternatives the distribution prefers the first. */
function dependencyNames(depends = ""): string[] {
  return depends.split(",").flatMap((part) => part.trim().split(/[ :|]/)[0] || [])
}
