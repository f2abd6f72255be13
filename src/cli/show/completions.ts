import { Database } from "bun:sqlite"
import { type Dirent, readdirSync } from "node:fs"
import { dirname, join } from "node:path"
import type { Complete } from "@bomb.sh/tab"
import type { ArgDef } from "citty"
import { formatSize } from "../../base/terms/quantity.ts"
import { catalog, shortNames } from "../../inputs/image/catalog.ts"
import { listImages } from "../../inputs/image/store.ts"
import { findDisks, listDisks } from "../../store/disks/disks.ts"
import { ownPlaces } from "../../store/state/open.ts"
import { disksDirectory } from "../../store/state/places.ts"

/** Adds what may stand in a place of the command line. */
type Candidates = (add: Complete) => void

/**
 * What may stand for an option or positional; `words` are its command's and its own. Nothing is made, no plugin is loaded, and what cannot be
 * read has no candidates: a shell that completes shows no errors.
 */
export function candidatesFor(words: readonly string[], def: ArgDef, current: string): Candidates {
  if (def.type === "enum") return (add) => addAll(add, (def.options ?? []).map(String))
  const find = PLACES[words.join(" ")] ?? PLACES[words.at(-1) ?? ""]
  return (add) => {
    try {
      find?.(add, current)
    } catch {
      // See above.
    }
  }
}

// --- internal ---

const PLACES: Readonly<Record<string, (add: Complete, current: string) => void>> = {
  vm: addVms,
  plugin: (add, current) => addFiles(add, current, (name) => /\.[jt]s$/.test(name)),
  file: (add, current) => addFiles(add, current, () => true),
  from: (add, current) => addFiles(add, current, () => true),
  trace: (add, current) => addFiles(add, current, () => true),
  restore: (add, current) => addFiles(add, current, () => false),
  dir: (add, current) => addFiles(add, current, () => false),
  shell: (add) => addAll(add, ["bash", "zsh", "fish"]),
  "get what": addKnown,
  "set what": (add) => addAll(add, ["memory=", "balloon="]),
  "get path name": addImages,
  "get rm name": addImages,
  "disk rm name": addDisks,
  "disk export name": addDisks,
  "disk import name": addDisks,
  "disk resize name": addDisks,
}

function addAll(add: Complete, values: readonly string[]): void {
  for (const value of values) add(value, "")
}

/** Names and ids of VMs. */
function addVms(add: Complete): void {
  const db = new Database(join(ownPlaces().state, "state.db"), { readonly: true })
  try {
    const rows = db.query<{ id: string; name: string; state: string }, []>("select id, name, state from vms").all()
    for (const { id, name, state } of rows) {
      add(name, state)
      add(id, `${name}, ${state}`)
    }
  } finally {
    db.close()
  }
}

function addKnown(add: Complete): void {
  for (const { name, about } of catalog()) for (const each of [name, ...shortNames(name)]) add(each, about)
}

function addImages(add: Complete): void {
  for (const { name } of listImages(ownPlaces())) add(name, "")
}

function addDisks(add: Complete): void {
  using disks = findDisks(disksDirectory(ownPlaces()))
  if (disks === undefined) return
  for (const { name, sizeBytes } of listDisks(disks).disks) add(name, formatSize(sizeBytes))
}

/** Files that a beginning leads to, and directories, which can be gone into. */
function addFiles(add: Complete, current: string, wanted: (name: string) => boolean): void {
  const typed = current.includes("/") ? `${current.slice(0, current.lastIndexOf("/"))}/` : ""
  const entries = readdirSync(dirname(`${typed || "./"}x`), { withFileTypes: true })
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    // Shells put what is offered on the command line as it is.
    if (!/^[\w@%+=,.-]+$/.test(entry.name)) continue
    if (isDirectory(entry)) add(`${typed}${entry.name}/`, "")
    else if (wanted(entry.name)) add(`${typed}${entry.name}`, "")
  }
}

function isDirectory(entry: Dirent): boolean {
  return entry.isDirectory() && !entry.name.startsWith(".")
}
