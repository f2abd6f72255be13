import { errorCode } from "../../base/linux/errors.ts"
import { close, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { MOUNT_ATTR } from "../../base/linux/mounts.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import type { Placed } from "../../base/terms/path.ts"
import { BOUND_ATTRIBUTES, bindAt } from "./bind.ts"
import type { Jail } from "./makeJail.ts"
import { type DiskImage, requireContent, requireWhole } from "./sectors.ts"
import {
  createFile,
  linkSource,
  openSource,
  type Source,
  type StageOptions,
  stageContent,
  withParent,
} from "./stage.ts"
import { type StagingWish, type Way, waysFor } from "./ways.ts"

/** A file in a jail, and the way it got there. */
export interface StagedFile extends Placed {
  readonly way: Way
}

/** How a file is staged. */
export interface FileWish extends StagingWish, StageOptions {
  /** Whether a guest will see it as a disk: whole sectors, which a private copy is padded to. */
  readonly disk?: boolean
}

/**
 * Stages a regular file under a name for the jail's owner, as `waysFor` says, and returns where it is. The source keeps
 * its owner, mode, size and number of names. Throws a failure for a disk that a guest would not see the whole of.
 */
export async function stageFile(jail: Jail, name: string, source: string, options: FileWish): Promise<StagedFile> {
  const fd = openSource(source)
  try {
    const stat = statDescriptor(fd)
    const ways = waysFor(source, stat, { owner: jail.owner, ...options })
    if (options.disk === true) requireDisk({ setting: "drives", path: source, bytes: stat.size }, ways)
    const way = await stageBy(ways, { jail, name, source: { fd, path: source }, wish: options })
    return { ...jail.placed(name), way }
  } finally {
    close(fd)
  }
}

/**
 * Binds an open file itself, not a copy, under a name of the jail. Writable, it is one that the owner of the jail alone has, by
 * no name that others have too.
 */
export function bindOpen(jail: Jail, name: string, source: number, { readonly }: Pick<StagingWish, "readonly">): void {
  withDescriptor(createFile(jail, name), () => {})
  withParent(jail, name, (dir, base) => {
    bindAt(source, { dir, name: base }, BOUND_ATTRIBUTES | (readonly ? MOUNT_ATTR.RDONLY : 0))
  })
}

// --- internal ---

/** One file that is being staged. */
interface FileStaging {
  readonly jail: Jail
  readonly name: string
  readonly source: Source
  readonly wish: FileWish
}

function requireDisk(image: DiskImage, ways: readonly Way[]): void {
  requireContent(image)
  if (ways.includes("bind") || ways.includes("link")) requireWhole(image, { jailed: true })
}

async function stageBy(ways: readonly Way[], staging: FileStaging): Promise<Way> {
  const { jail, name, source, wish } = staging
  const [way = "copy"] = ways
  if (way === "bind") bindOpen(jail, name, source.fd, wish)
  else if (way === "link") linkSource(jail, name, source)
  else if (ways.includes("copy") && ways.includes("clone")) {
    await stageContent(jail, name, source.fd, wish)
    return "copy"
  } else await insist(staging, way)
  return way
}

async function insist({ jail, name, source, wish }: FileStaging, way: "clone" | "copy"): Promise<void> {
  try {
    await stageContent(jail, name, source.fd, { ...wish, clone: way === "clone" ? "only" : "never" })
  } catch (error) {
    if (way !== "clone" || errorCode(error) === undefined) throw error
    const hint = 'use a file system with shared blocks (btrfs, xfs) for both, or stage: "copy"'
    const message = `${source.path} cannot be cloned into the jail: ${messageOf(error)}`
    throw new Failure("HOST_LACKS", message, { hint, subject: source.path, cause: error })
  }
}
