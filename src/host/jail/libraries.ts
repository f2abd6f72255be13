import { readlinkSync } from "node:fs"
import { basename, dirname } from "node:path"
import { chmodDescriptor } from "../../base/linux/access.ts"
import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import {
  close,
  isType,
  mkdirAt,
  openAt,
  openBeneath,
  statAt,
  statDescriptor,
  symlinkAt,
  verified,
  withDescriptor,
} from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { MOUNT_ATTR } from "../../base/linux/mounts.ts"
import { Failure } from "../../base/terms/failure.ts"
import { bindAt } from "./bind.ts"
import type { Jail } from "./makeJail.ts"
import { withParent } from "./stage.ts"

/** Where a dynamic program finds its loader and libraries. */
const LIBRARIES = ["/usr/lib", "/usr/lib64", "/lib", "/lib64"]

/** What one of the library directories is on this host. */
export type Library =
  | { readonly path: string; readonly is: "directory"; readonly from: string }
  | { readonly path: string; readonly is: "symlink"; readonly to: string }

/** Stages the host's library directories: real ones bound read-only, symlinks (`/lib` → `usr/lib`) as they are. */
export function stageLibraries(jail: Jail, libraries: readonly Library[] = hostLibraries()): void {
  for (const { path, ...library } of libraries) {
    // Symlinks before mounts: once something is mounted in the jail, no more names are made in it.
    if (library.is === "symlink") inParent(jail, path, (dir, name) => symlinkAt(library.to, dir, name))
  }
  const directories = libraries.filter((library) => library.is === "directory")
  for (const { path } of directories) inParent(jail, path, (dir, name) => close(makeOpen(dir, name)))
  for (const { path, from } of directories) inParent(jail, path, (dir, name) => bindLibrary(from, dir, name))
}

/** The library directories of this host. Throws a failure for a symlink that does not lead to another of them. */
export function hostLibraries(): readonly Library[] {
  const found: Library[] = []
  for (const path of LIBRARIES) {
    const type = typeOf(path)
    if (type === "directory") found.push({ path, is: "directory", from: path })
    else if (type === "symlink") found.push({ path, is: "symlink", to: readlinkSync(path) })
  }
  return found.map((library) => checkedLink(library))
}

// --- internal ---

function checkedLink(library: Library): Library {
  if (library.is === "directory" || LIBRARIES.includes(`/${library.to.replace(/^\/+/, "")}`)) return library
  throw new Failure("HOST_LACKS", `${library.path} is a symlink to ${library.to}, which a jail does not have`, {
    hint: "use a statically linked VMM",
    subject: library.path,
  })
}

function typeOf(path: string): "directory" | "symlink" | undefined {
  const stat = unlessAbsent(() => statAt(AT_FDCWD, path))
  if (stat === undefined) return undefined
  return isType(stat, S.IFDIR) ? "directory" : isType(stat, S.IFLNK) ? "symlink" : undefined
}

/** The parent is `/` or `/usr`. The VMM's uid reads through `/usr`, so it is made open to all whatever the umask. */
function inParent(jail: Jail, path: string, use: (dir: number, name: string) => void): void {
  if (dirname(path) === "/") withParent(jail, basename(path), use)
  else withDescriptor(makeOpen(jail.fd, basename(dirname(path))), (dir) => use(dir, basename(path)))
}

function makeOpen(dir: number, name: string): number {
  try {
    mkdirAt(dir, name, 0o755)
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error
  }
  return verified(openBeneath(dir, name, O.PATH | O_DIRECTORY | O_NOFOLLOW), (fd) => {
    if ((statDescriptor(fd).mode & 0o777) !== 0o755) chmodDescriptor(fd, 0o755)
  })
}

function bindLibrary(from: string, dir: number, name: string): void {
  withDescriptor(openAt(AT_FDCWD, from, O.PATH | O_DIRECTORY | O_NOFOLLOW), (source) => {
    bindAt(source, { dir, name }, MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV)
  })
}
