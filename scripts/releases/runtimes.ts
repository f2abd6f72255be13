import { cpSync, existsSync, mkdirSync } from "node:fs"
import { join } from "node:path"
import { root, TARGETS, type Target } from "../compile.ts"

const tools = join(root, ".tools/runtimes")

/** Fetches Bun's own program for every target into .tools. `bun install` checks each by its sum in bun.lock. */
export function fetchRuntimes(): void {
  mkdirSync(tools, { recursive: true })
  for (const name of ["package.json", "bun.lock"]) cpSync(join(root, "scripts/runtimes", name), join(tools, name))
  const command = [process.execPath, "install", "--frozen-lockfile", "--ignore-scripts", "--silent"]
  const done = Bun.spawnSync([...command, "--os=linux", "--cpu=*"], { cwd: tools, stderr: "inherit" })
  if (!done.success) throw new Error("the programs of Bun for all targets could not be fetched")
}

/** The path of a target's program. Throws when it was not fetched. */
export function runtimeOf(target: Target): string {
  const path = join(tools, "node_modules/@oven", TARGETS[target].runtime, "bin/bun")
  if (!existsSync(path)) throw new Error(`there is no ${path}`)
  return path
}
