import { readdirSync, statSync } from "node:fs"
import { join } from "node:path"
import { O, O_DIRECTORY } from "../../base/linux/constants.ts"
import { errorCode, ignoring, unlessAbsent } from "../../base/linux/errors.ts"
import { openAt, openBeneath, rmdirAt, unlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { Places } from "../../store/state/places.ts"
import { exactName } from "./catalog.ts"

// The room image: kernels, root file systems and VMMs: known by name, fetched, kept.
// The rule: an image has its name only once its sum was checked; before that it is a part, which another try continues.

/** An image that is here: a file, or a directory with what was in an archive. */
export interface Image {
  readonly name: string
  readonly path: string
  readonly bytes: number
}

/** The images that are here, by name. */
export function listImages(where: Places): readonly Image[] {
  const dir = imagesDirectory(where)
  return namesIn(dir)
    .filter((name) => !name.startsWith("."))
    .sort()
    .map((name) => ({ name, path: join(dir, name), bytes: bytesOf(join(dir, name)) }))
}

/** The path of an image that is here. Throws a failure with the command that gets it. */
export function imagePath(where: Places, name: string): string {
  const exact = exactName(name)
  const found = listImages(where).find((image) => image.name === exact)
  if (found !== undefined) return found.path
  throw notHere(name, `to get it: banger get ${name}`)
}

/** Removes an image, and what an unfinished download of it left. Throws a failure when neither is here. */
export function removeImage(where: Places, name: string): string {
  const exact = exactName(name)
  const dir = imagesDirectory(where)
  const names = namesIn(dir)
  const found = [exact, partOf(exact), `.${exact}.dir`].filter((each) => names.includes(each))
  if (found.length === 0) throw notHere(name, "banger get ls lists what is")
  for (const each of found) removeNamed(dir, each)
  return join(dir, exact)
}

/** The name of an image that is not whole yet. */
export function partOf(name: string): string {
  return `.${name}.part`
}

/** Removes a file of the images, or a directory with the files in it. "Already gone" is success. */
export function removeNamed(dir: string, name: string): void {
  withDescriptor(openAt(AT_FDCWD, dir, O.RDONLY | O_DIRECTORY), (parent) => {
    for (const inner of namesIn(join(dir, name))) ignoring(["ENOENT"], () => removeIn(parent, name, inner))
    ignoring(["ENOENT"], () => {
      try {
        unlinkAt(parent, name)
      } catch (error) {
        if (errorCode(error) !== "EISDIR") throw error
        rmdirAt(parent, name)
      }
    })
  })
}

/** The names in a directory; none when it is not there. */
export function namesIn(dir: string): readonly string[] {
  return unlessAbsent(() => readdirSync(dir), ["ENOENT", "ENOTDIR"]) ?? []
}

/** Where a user's images are. */
export function imagesDirectory({ state }: Places): string {
  return join(state, "images")
}

// --- internal ---

function notHere(name: string, hint: string): Failure {
  return new Failure("BAD_FILE", `the image ${name} is not here`, { hint, subject: name })
}

function removeIn(parent: number, name: string, inner: string): void {
  withDescriptor(openBeneath(parent, name, O.RDONLY | O_DIRECTORY), (fd) => unlinkAt(fd, inner))
}

function bytesOf(path: string): number {
  const stat = statSync(path)
  if (!stat.isDirectory()) return stat.size
  return readdirSync(path).reduce((sum, name) => sum + statSync(join(path, name)).size, 0)
}
