import { Failure } from "../../base/terms/failure.ts"
import type { KnownFault, Version, VmmNeeds } from "../vmm/vmm.ts"

/** Major, minor and patch. */
export type Release = readonly [number, number, number]

/** The release in the output of `firecracker --version` or `jailer --version`. */
export function parseRelease(program: "Firecracker" | "Jailer", text: string): Release | undefined {
  const line = text.split("\n").find((each) => each.startsWith(`${program} v`))
  const [, ...parts] = /v(\d+)\.(\d+)\.(\d+)/.exec(line ?? "") ?? []
  const [major, minor, patch] = parts.map(Number)
  return major === undefined || minor === undefined || patch === undefined ? undefined : [major, minor, patch]
}

/** Throws a failure for a release that is too old. */
export function requireSupported(path: string, release: Release): void {
  if (isNewer(release, [1, 5, 0])) return
  const message = `${path} is Firecracker ${release.join(".")}, which is too old: 1.5 or newer is needed`
  throw new Failure("HOST_LACKS", message, { hint: "run: banger get firecracker", subject: path })
}

/** The known fault of a release, for a warning; undefined when none is known. */
export function knownBad(release: Release): KnownFault | undefined {
  const text = release.join(".")
  const fault = (words: string, dangerous: boolean) => ({ words: `Firecracker ${text}: ${words}`, dangerous })
  if (!isNewer(release, [1, 13, 2]) || text === "1.14.0")
    return fault("its jailer follows a planted symlink (CVE-2026-1386); use 1.15.1 or newer", true)
  if (!isNewer(release, [1, 15, 0]))
    return fault("its makers have not fixed it since 1.15 came out; use 1.15.1 or newer", false)
  if (text === "1.15.0") return fault("writes out of bounds with PCI (CVE-2026-5747); use 1.15.1", true)
  if (text === "1.16.0") return fault("its jailer refuses a symlink to a network namespace; use 1.16.1", false)
  return undefined
}

/** The first release with a setting, by its place in `firecracker` of a spec. */
const SINCE: readonly (readonly [setting: string, since: Release])[] = [
  ["serial", [1, 14, 0]],
  ["serial.rate_limiter", [1, 16, 0]],
  ["machine.huge_pages", [1, 7, 0]],
  ["network.mtu", [1, 16, 0]],
  ["balloon.free_page_hinting", [1, 14, 0]],
  ["balloon.free_page_reporting", [1, 14, 0]],
  ["mmds.imds_compat", [1, 13, 0]],
  ["logger.module", [1, 6, 0]],
  ["pci", [1, 13, 0]],
  ["memory_hotplug", [1, 14, 0]],
  ["pmem", [1, 14, 0]],
  ["pmem.rate_limiter", [1, 16, 0]],
  ["vhost_user", [1, 6, 0]],
]

/** The first releases whose huge pages go with another part of a VM. */
const WITH_HUGE_PAGES_SINCE: { readonly initrd: Release; readonly balloon: Release } = {
  initrd: [1, 13, 0],
  balloon: [1, 14, 0],
}

/** The first release that can put a snapshot's network card on another tap. */
const OTHER_TAP_SINCE: Release = [1, 12, 0]

/** Throws a failure that names what a VM needs and a release lacks. The settings of a restored VM are checked too. */
export function requireKnown(
  { firecracker, initrd, networked, restored }: Pick<VmmNeeds, "firecracker" | "initrd" | "networked" | "restored">,
  release: Release,
): void {
  for (const [setting, since] of SINCE) {
    const value = settingAt(firecracker, setting)
    // What is switched off by an option that is left out is no setting that a release could lack.
    if (value !== undefined && !(setting === "pci" && value === false))
      requireSince(`firecracker.${setting}`, release, since)
  }
  const [huge, since] = ["firecracker.machine.huge_pages with", WITH_HUGE_PAGES_SINCE]
  if (firecracker.machine?.huge_pages === "2M" && initrd) requireSince(`${huge} an initrd`, release, since.initrd)
  if (firecracker.machine?.huge_pages === "2M" && firecracker.balloon !== undefined)
    requireSince(`${huge} a balloon`, release, since.balloon)
  if (restored && networked) requireSince("--restore with a network", release, OTHER_TAP_SINCE)
}

/** The first release that writes changed pages on a memory file that is there. */
const ON_BASE_SINCE: Release = [1, 6, 0]

/** Before it, changed pages of guests above the gap below 4 GiB are written to wrong places (#5705). */
const LARGE_ON_BASE_SINCE: Release = [1, 15, 0]
const LARGE_MIB_COUNT = 3072

/** Throws a failure when a release cannot write a snapshot of so much memory on the one before it. */
export function requireOnBase(release: Release, memoryMiB: number): void {
  requireSince("a snapshot on a base", release, ON_BASE_SINCE)
  if (memoryMiB > LARGE_MIB_COUNT && process.arch === "x64")
    requireSince("a snapshot on a base, of more than 3 GiB of memory,", release, LARGE_ON_BASE_SINCE)
}

/** Major and minor, as all VMMs have them. */
export function versionOf([major, minor]: Release): Version {
  return [major, minor]
}

// --- internal ---

/** The setting at a place; of a list of devices, the first that has it. */
function settingAt(settings: unknown, place: string): unknown {
  const [key = "", ...rest] = place.split(".")
  const value = (settings as Record<string, unknown> | undefined)?.[key]
  if (rest.length === 0 || value === undefined) return value
  const below = rest.join(".")
  if (!Array.isArray(value)) return settingAt(value, below)
  return value.map((each) => settingAt(each, below)).find((each) => each !== undefined)
}

function requireSince(what: string, release: Release, since: Release): void {
  if (isNewer(release, since)) return
  const [own, first] = [release, since].map((each) => each.slice(0, 2).join("."))
  throw new Failure("UNSUPPORTED", `${what}: Firecracker ${own} does not have it: it came with ${first}`, {
    subject: what,
    hint: `leave it out, or use Firecracker ${first} or newer (banger get firecracker)`,
  })
}

/** Whether a release is `than` or newer. */
function isNewer(release: Release, than: Release): boolean {
  for (const [index, number] of release.entries()) {
    const other = than[index] ?? 0
    if (number !== other) return number > other
  }
  return true
}
