import { afterAll } from "bun:test"
import { mkdtempSync, rmSync } from "node:fs"

/** Makes directories for what a file's tests build; they go after its last test. Call it outside of them. */
export function directoriesOfFile(): () => string {
  const made: string[] = []
  afterAll(() => {
    // A test may have taken its own away.
    for (const dir of made) rmSync(dir, { recursive: true, force: true })
  })
  return () => {
    const dir = mkdtempSync("/run/banger-doubles-")
    made.push(dir)
    return dir
  }
}
