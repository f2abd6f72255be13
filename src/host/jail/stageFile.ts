import { errorCode } from "../../base/linux/errors.ts"
import { close, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { MOUNT_ATTR } from "../../base/linux/mounts.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { bindAt } from "./bind.ts"
import type { Jail } from "./makeJail.ts"
import { createFile, linkSource, openSource, stageContent, withParent } from "./stage.ts"
import { type StagingWish, type Way, waysFor } from "./ways.ts"

/**
 * Stages a regular file under a name for the jail's owner, as `waysFor` says, and returns the way it went. The source
 * keeps its owner, mode and number of names.
 */
export async function stageFile(
  jail: Jail,
  name: string,
  source: string,
  wish: StagingWish,
  signal: AbortSignal,
): Promise<Way> {
  const from = openSource(source)
  try {
    const ways = waysFor(source, statDescriptor(from), jail.owner, wish)
    if (ways.includes("clone") && ways.includes("copy")) return await stagePrivate(jail, name, from, signal)
    const [way = "copy"] = ways
    if (way === "bind") bindFile(jail, name, from, wish.readonly)
    else if (way === "link") linkSource(jail, name, source, from)
    else await insist(jail, name, source, from, way, signal)
    return way
  } finally {
    close(from)
  }
}

/** What a bound file may be: never a device, a program or a setuid one, never a symlink to follow. */
export const FILE_ATTRIBUTES = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC | MOUNT_ATTR.NOSYMFOLLOW

// --- internal ---

async function stagePrivate(jail: Jail, name: string, from: number, signal: AbortSignal): Promise<Way> {
  await stageContent(jail, name, from, signal)
  return "copy"
}

async function insist(
  jail: Jail,
  name: string,
  source: string,
  from: number,
  way: "clone" | "copy",
  signal: AbortSignal,
): Promise<void> {
  try {
    await stageContent(jail, name, from, signal, way === "clone" ? "only" : "never")
  } catch (error) {
    if (way !== "clone" || errorCode(error) === undefined) throw error
    const hint = 'use a file system with shared blocks (btrfs, xfs) for both, or stage: "copy"'
    throw new Failure("FAILED", `${source} cannot be cloned into the jail: ${messageOf(error)}`, { hint, cause: error })
  }
}

function bindFile(jail: Jail, name: string, from: number, readonly: boolean): void {
  withDescriptor(createFile(jail, name), () => {})
  withParent(jail, jail.fd, name, (dir, base) => {
    bindAt(from, dir, base, FILE_ATTRIBUTES | (readonly ? MOUNT_ATTR.RDONLY : 0))
  })
}
