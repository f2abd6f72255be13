import { formatSize } from "../../base/terms/quantity.ts"
import { disksDirectory } from "../../store/state/places.ts"
import { type Finding, ok, warn } from "./finding.ts"
import type { Host } from "./host.ts"

/** Whether the persistent disks are what they seem, and their file system could hold all that they may grow to. */
export function checkDisks(host: Host): Finding {
  const found = host.disks()
  if (found === undefined) return ok("no disk persists here yet")
  const { disks, strange } = found
  const [first] = strange
  if (first !== undefined) return warn(first, "look at who put it there, and move it away")
  const place = disksDirectory(host.places)
  const grows = disks.reduce((sum, { sizeBytes, usedBytes }) => sum + Math.max(0, sizeBytes - usedBytes), 0)
  const { bytes } = host.room(place)
  const says = `${disks.length === 1 ? "1 disk" : `${disks.length} disks`} in ${place} may come to take ${formatSize(grows)} more, and ${formatSize(bytes)} are free`
  if (grows <= bytes) return ok(says)
  const hint = `their guests get I/O errors when it is full: mount a larger file system on ${place}; banger disk ls`
  return warn(says, hint)
}
