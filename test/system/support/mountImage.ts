import { mkdirSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Place } from "./place.ts"

const MAKE: Readonly<Record<string, readonly string[]>> = {
  ext4: ["mkfs.ext4", "-q", "-N", "300000"],
  btrfs: ["mkfs.btrfs", "-q"],
  xfs: ["mkfs.xfs", "-q"],
}

/** Mounts a new file system of this kind in a place, in a file on a loop device or in memory; returns where. */
export function mountImage(place: Place, kind: string, size: string): string {
  const point = join(place.dir, kind)
  mkdirSync(point)
  if (kind === "tmpfs") run(["mount", "-t", "tmpfs", "-o", `size=${size},mode=755`, "none", point])
  else {
    const image = join(place.dir, `${kind}.img`)
    writeFileSync(image, "")
    truncateSync(image, Number.parseInt(size, 10) * (size.endsWith("G") ? 1024 : 1) * 1024 * 1024)
    run([...(MAKE[kind] ?? []), image])
    run(["mount", "-o", "loop", image, point])
  }
  return point
}

// --- internal ---

function run(argv: readonly string[]): void {
  const { exitCode, stderr } = Bun.spawnSync([...argv])
  if (exitCode !== 0) throw new Error(`${argv.join(" ")}: ${stderr.toString()}`)
}
