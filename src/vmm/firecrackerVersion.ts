import { Failure } from "../terms/failure.ts"
import type { Version } from "./vmm.ts"

/** Major, minor and patch. */
export type Release = readonly [number, number, number]

/** The release from what `firecracker --version` or `jailer --version` prints: its first line counts. */
export function parseRelease(program: "Firecracker" | "Jailer", text: string): Release | undefined {
  const line = text.split("\n").find((each) => each.startsWith(`${program} v`))
  const [, ...parts] = /v(\d+)\.(\d+)\.(\d+)/.exec(line ?? "") ?? []
  const [major, minor, patch] = parts.map(Number)
  return major === undefined || minor === undefined || patch === undefined ? undefined : [major, minor, patch]
}

/** Throws a failure for a release that is too old. */
export function requireSupported(path: string, release: Release): void {
  if (isNewer(release, [1, 5, 0])) return
  throw new Failure(`${path} is Firecracker ${release.join(".")}, which is too old: 1.5 or newer is needed`)
}

/** What is known against a release, for a warning; undefined when nothing is. */
export function knownBad(release: Release): string | undefined {
  const text = release.join(".")
  const [, minor, patch] = release
  if (!isNewer(release, [1, 13, 2]) || text === "1.14.0")
    return `Firecracker ${text}: its jailer follows a planted symlink (CVE-2026-1386); use 1.13.2, 1.14.1 or newer`
  if (text === "1.16.0") return "Firecracker 1.16.0: its jailer refuses a symlink to a network namespace; use 1.16.1"
  if (minor === 15 && patch === 0)
    return "Firecracker 1.15.0: writes out of bounds with PCI (CVE-2026-5747); use 1.15.1"
  return undefined
}

/** Since which release a setting is there. */
const SINCE: Readonly<Record<string, Release>> = {
  "/serial": [1, 14, 0],
  "/pmem": [1, 14, 0],
  "/hotplug/memory": [1, 14, 0],
}

/** Throws a failure that names a request's setting which a release does not have. */
export function requireKnown(path: string, release: Release): void {
  const since = Object.entries(SINCE).find(([prefix]) => path.startsWith(prefix))?.[1]
  if (since === undefined || isNewer(release, since)) return
  throw new Failure(`Firecracker ${release.join(".")} has no ${path}: it came with ${since.join(".")}`)
}

/** Major and minor, as all VMMs have them. */
export function versionOf([major, minor]: Release): Version {
  return [major, minor]
}

// --- internal ---

/** Whether a release is another or newer. */
function isNewer(release: Release, than: Release): boolean {
  for (const [index, number] of release.entries()) {
    const other = than[index] ?? 0
    if (number !== other) return number > other
  }
  return true
}
