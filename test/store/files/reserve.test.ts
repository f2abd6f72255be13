import { expect, test } from "bun:test"
import { readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { keepReserve } from "../../../src/store/files/reserve.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const reserve = () => join(directory.path, "reserve")

test("a reserve that was made and not filled, or of which a part is gone, is made whole by the next VM's start", () => {
  writeFileSync(reserve(), "")
  keepReserve(directory.path)
  expect(statSync(reserve()).blocks * 512).toBeGreaterThanOrEqual(512 * 1024)
  const inodes = join(directory.path, "reserve.inodes")
  const all = readdirSync(inodes)
  // The first is made last.
  for (const name of ["0", "1"]) rmSync(join(inodes, name))
  keepReserve(directory.path)
  expect(readdirSync(inodes).sort()).toEqual(all.sort())
})
