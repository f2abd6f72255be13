import { basename } from "node:path"
import type { Spec } from "../schema/vm.ts"
import type { Loaded } from "./load.ts"

/** A VM that is fully described; nothing is acquired yet. */
export interface ResolvedPlugin {
  readonly loaded: Loaded
  /** With a name, and every path absolute. */
  readonly spec: Spec & { readonly name: string }
  /** The same as a plugin would write it. */
  readonly written: Readonly<Record<string, unknown>>
}

/** The name of a VM whose plugin gives none: the file's, with what a DNS label cannot have made `-`. */
export function nameFromFile(path: string): string {
  const stem = basename(path)
    .replace(/\.[^.]*$/, "")
    .toLowerCase()
  return (
    stem
      .replace(/[^a-z0-9]+/g, "-")
      .slice(0, 63)
      .replace(/^-+|-+$/g, "") || "vm"
  )
}
