import { fchmodSync, mkdirSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { readAll, sync, writeAll } from "../../base/linux/content.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { openAt, statDescriptor, unlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure, isFailure, messageOf } from "../../base/terms/failure.ts"
import { replaceFileBy, syncDirectory } from "../../store/files/replaceFile.ts"
import type { Unit } from "./units.ts"

/** What became of one unit file. */
export interface Placed {
  readonly path: string
  readonly is: "written" | "removed" | "unchanged"
}

/** A unit as it is installed: its first line says who wrote it, and what, so that a change shows. */
export function signed({ text }: Unit): string {
  return `${MARK}${sumOf(text)}\n${text}`
}

/** What a file is by its content: as banger has written it, changed since, or somebody else's. Pure. */
export function writerOf(content: string): "banger" | "changed" | "another" {
  const end = content.indexOf("\n") + 1
  if (!content.startsWith(MARK)) return "another"
  return content.slice(MARK.length, end - 1) === sumOf(content.slice(end)) ? "banger" : "changed"
}

/**
 * Writes these units into a directory (0644), which is made. All or none: throws IN_USE, with nothing written, where one of the
 * names is a file that banger did not write, or that somebody has changed.
 */
export function placeUnits(dir: string, units: readonly Unit[]): readonly Placed[] {
  return written(dir, () => place(dir, units))
}

/** Removes what `placeUnits` has written, whichever banger's it was. Throws IN_USE, with nothing removed, as it does. */
export function removeUnits(dir: string, names: readonly string[]): readonly Placed[] {
  return written(dir, () => remove(dir, names))
}

/** The units of these names that are enabled: the links that systemctl(1) has made of them, by their names. */
export function enabledOf(dir: string, names: readonly string[]): readonly string[] {
  const wants = (unlessAbsent(() => readdirSync(dir)) ?? []).filter((name) => /\.(?:wants|requires)$/.test(name))
  const links = wants.flatMap((name) => unlessAbsent(() => readdirSync(join(dir, name)), ["ENOENT", "ENOTDIR"]) ?? [])
  return [...new Set(links.filter((name) => names.includes(name.replace(/@[^.]+\./, "@."))))].sort()
}

// --- internal ---

function place(dir: string, units: readonly Unit[]): readonly Placed[] {
  mkdirSync(dir, { recursive: true, mode: 0o755 })
  const before = units.map((unit) => ({ unit, path: join(dir, unit.name), there: contentAt(join(dir, unit.name)) }))
  for (const { path, there } of before) if (there !== undefined) requireOwn(path, there, "replaced")
  const placed = before.map(({ unit, path, there }): Placed => {
    if (there === signed(unit)) return { path, is: "unchanged" }
    replaceFileBy(path, (fd) => {
      writeAll(fd, new TextEncoder().encode(signed(unit)))
      fchmodSync(fd, 0o644)
      sync(fd)
    })
    return { path, is: "written" }
  })
  if (placed.some(({ is }) => is === "written")) syncDirectory(dir)
  return placed
}

function remove(dir: string, names: readonly string[]): readonly Placed[] {
  const there = names.flatMap((name) => {
    const content = contentAt(join(dir, name))
    return content === undefined ? [] : [{ name, path: join(dir, name), content }]
  })
  for (const { path, content } of there) requireOwn(path, content, "removed")
  if (there.length === 0) return []
  withDescriptor(openAt(AT_FDCWD, dir, O.RDONLY | O_DIRECTORY), (fd) => {
    for (const { name } of there) unlinkAt(fd, name)
    sync(fd)
  })
  return there.map(({ path }) => ({ path, is: "removed" }))
}

function written<T>(dir: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (isFailure(error)) throw error
    const hint = "as root: the host's units; as another user: your own"
    throw new Failure("BAD_FILE", `${dir} cannot be written: ${messageOf(error)}`, { hint, subject: dir, cause: error })
  }
}

const MARK = "# Written by `banger system install`, which removes it too (--remove): "

/** No unit of banger's is as large, in bytes. */
const UNIT_MAX_BYTES = 64 * 1024

function sumOf(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 16)
}

/** What a file has; null for what is no file, or larger than any of ours; undefined where there is none. */
function contentAt(path: string): string | null | undefined {
  const open = () => openAt(AT_FDCWD, path, O.RDONLY | O_NOFOLLOW | O.NONBLOCK)
  try {
    return unlessAbsent(() =>
      withDescriptor(open(), (fd) => {
        const { mode, size } = statDescriptor(fd)
        if ((mode & S.IFMT) !== S.IFREG || size > UNIT_MAX_BYTES) return null
        return new TextDecoder().decode(readAll(fd, UNIT_MAX_BYTES))
      }),
    )
  } catch (error) {
    if ((error as { code?: unknown }).code === "ELOOP") return null
    throw new Failure("BAD_FILE", `${path} cannot be read: ${messageOf(error)}`, { subject: path, cause: error })
  }
}

function requireOwn(path: string, content: string | null, what: "replaced" | "removed"): void {
  const writer = content === null ? "another" : writerOf(content)
  if (writer === "banger") return
  const why = writer === "changed" ? "somebody has changed it since banger wrote it" : "banger did not write it"
  const hint = `move it away, or remove it, then run this again; your own changes go into ${path}.d/`
  throw new Failure("IN_USE", `${path} is not ${what}: ${why}`, { hint, subject: path })
}
