import { afterEach, beforeEach } from "bun:test"
import { mkdtempSync, realpathSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** Gives each test of a file a fresh directory, and takes it away after. */
export function eachInItsDirectory(): { readonly path: string } {
  const directory = { path: "" }
  beforeEach(() => {
    directory.path = realpathSync(mkdtempSync(join(tmpdir(), "banger-unit-")))
  })
  afterEach(() => rmSync(directory.path, { recursive: true, force: true }))
  return directory
}
