import { expect } from "bun:test"
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs"
import { join } from "node:path"
import type { JailSite } from "../../../src/host/jail/base.ts"
import { mountsBelow } from "../../../src/host/jail/mountTable.ts"

/** What every file below a directory is: owner, mode, names, content. The directory of jails is left out. */
export function manifest(dir: string): Readonly<Record<string, string>> {
  const names = readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((name) => !/^jail(\/|$)/.test(name))
  return Object.fromEntries(names.sort().map((name) => [name, describe(join(dir, name))]))
}

/** Asserts that nothing of a jail is left: no mount, no directory in any of its places. */
export function expectNoJail({ base, vmm, id }: JailSite, message: string): void {
  expect(mountsBelow(base), message).toEqual([])
  const left = [base, join(base, vmm), join(base, ".grave")].flatMap((dir) => (existsSync(dir) ? readdirSync(dir) : []))
  expect(
    left.filter((name) => name.includes(id)),
    message,
  ).toEqual([])
}

// --- internal ---

function describe(path: string): string {
  const stat = lstatSync(path)
  const content = stat.isFile() ? Bun.hash(readFileSync(path)) : stat.isSymbolicLink() ? readlinkSync(path) : ""
  return `${stat.mode.toString(8)} ${stat.uid}:${stat.gid} ${stat.isDirectory() ? "" : stat.nlink} ${stat.rdev} ${content}`
}
