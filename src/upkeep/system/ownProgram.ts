import { realpathSync } from "node:fs"
import { basename, join } from "node:path"
import { unlessAbsent } from "../../base/linux/errors.ts"

/** A name of this program for a text that is used later. */
export interface LastingName {
  readonly path: string
  /** Why it may not lead to banger any more after an upgrade; undefined: it will. */
  readonly doubt: string | undefined
}

/** Directories that lead to programs on any host, whatever PATH says. */
const USUAL = ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin", "/bin"]

/**
 * The name of this program that will lead to banger after an upgrade too: of all that lead to this very file (how it was called, PATH,
 * the usual places), the first without a version in it. `update` replaces the file in its place; packages and administrators replace
 * the symlink. From source: the path of an installed one.
 */
export function ownProgram({
  execPath = process.execPath,
  calledAs = process.argv0,
  path = process.env.PATH ?? "",
}: {
  readonly execPath?: string
  readonly calledAs?: string
  readonly path?: string
} = {}): LastingName {
  if (!basename(execPath).startsWith("banger")) return { path: "/usr/local/bin/banger", doubt: undefined }
  const own = real(execPath)
  const dirs = [...path.split(":"), ...USUAL].filter((dir) => dir.startsWith("/"))
  const names = [calledAs, ...dirs.map((dir) => join(dir, "banger")), execPath].filter((name) => name.startsWith("/"))
  const lasting = names.find((name) => !hasVersion(name) && real(name) === own && own !== undefined)
  if (lasting !== undefined) return { path: lasting, doubt: undefined }
  if (!hasVersion(execPath)) return { path: execPath, doubt: undefined }
  return { path: execPath, doubt: `${execPath} has a version in its name: after an upgrade this may lead nowhere` }
}

/** Whether a path has a component that a later version would have otherwise: a version, a count, a hash. Pure. */
export function hasVersion(path: string): boolean {
  return path
    .split("/")
    .some((part) => /\d\.\d|^v?\d+$|^[0-9a-z]{32}-|(?:^|[-_.])(?=[0-9a-f]*\d)[0-9a-f]{7,64}$/.test(part))
}

// --- internal ---

function real(path: string): string | undefined {
  return unlessAbsent(() => realpathSync(path), ["ENOENT", "ENOTDIR", "EACCES", "ELOOP"])
}
