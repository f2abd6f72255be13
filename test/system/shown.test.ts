import { afterEach, beforeEach, expect, test } from "bun:test"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

// How far a console was shown is kept by memory that is a file's: on a full disk the kernel ends whoever writes there.

const source = join(import.meta.dir, "../../src/store/logs/shown.ts")
let dir = ""
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "banger-shown-"))
  expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=4", "tmpfs", dir]).exitCode).toBe(0)
})
afterEach(() => {
  expect(Bun.spawnSync(["umount", dir]).exitCode).toBe(0)
  rmSync(dir, { recursive: true })
})

/** Runs code with `openShown`, `path`, and `fill`, which takes all blocks or all inodes of the disk. */
function run(code: string): { readonly stdout: string; readonly signal: unknown } {
  const text = `
    import { writeFileSync } from "node:fs"
    import { openShown } from "${source}"
    const path = "${dir}/shown"
    const fill = { blocks: () => writeFileSync("${dir}/full", new Uint8Array(1 << 20)), inodes: () => {
      for (let i = 0; ; i++) writeFileSync("${dir}/" + i, "")
    } }
    const full = (what) => { try { fill[what]() } catch (error) { if (error.code !== "ENOSPC") throw error } }
    ${code}`
  const { stdout, signalCode } = Bun.spawnSync([process.execPath, "-e", text], { timeout: 20_000 })
  return { stdout: stdout.toString(), signal: signalCode ?? null }
}

test.each(["blocks", "inodes"])("without %s nothing is noted, and nobody is ended", (what) => {
  expect(run(`full("${what}"); console.log(openShown(path) === undefined)`)).toEqual({ stdout: "true\n", signal: null })
})

test("what was there before the disk was full goes on being noted", () => {
  const code = `const shown = openShown(path); full("blocks"); shown.note(4711); console.log(openShown(path).before)`
  expect(run(code)).toEqual({ stdout: "4711\n", signal: null })
})
