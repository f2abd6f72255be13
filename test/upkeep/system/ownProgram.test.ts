import { expect, test } from "bun:test"
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { hasVersion, ownProgram } from "../../../src/upkeep/system/ownProgram.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

test("the program is named as it will be after an upgrade, by whichever way it was started", () => {
  const at = (name: string) => join(directory.path, name)
  mkdirSync(at("opt/banger-1.2.0"), { recursive: true })
  mkdirSync(at("bin"))
  const file = at("opt/banger-1.2.0/banger")
  writeFileSync(file, "")
  symlinkSync("banger-1.2.0", at("opt/current"))
  const own = (more: object = {}) => ownProgram({ execPath: file, calledAs: "banger", path: "", ...more })
  expect(own()).toEqual({ path: file, doubt: expect.stringContaining("has a version in its name") })
  // Called by a lasting name, or found by one in PATH.
  expect(own({ calledAs: at("opt/current/banger") })).toEqual({ path: at("opt/current/banger"), doubt: undefined })
  expect(own({ path: `.:${at("bin")}:${at("opt/current")}` }).path).toBe(at("opt/current/banger"))
  symlinkSync(file, at("bin/banger"))
  expect(own({ path: `${at("bin")}:${at("opt/current")}` })).toEqual({ path: at("bin/banger"), doubt: undefined })
  // Another banger of that name is none.
  writeFileSync(at("other"), "")
  expect(own({ calledAs: at("other") }).doubt).toBeDefined()
  expect(ownProgram({ execPath: "/usr/bin/bun" }).path).toBe("/usr/local/bin/banger")
  expect(ownProgram({ execPath: at("bin/banger-static"), path: "" }).doubt).toBeUndefined()
})

test.each([
  ["/nix/store/0c5n2lq1v4yxdxpnzdxsgkszxxxxxxxx-banger/bin/banger", true],
  ["/home/linuxbrew/Cellar/banger/0.1.0/bin/banger", true],
  ["/snap/banger/42/bin/banger", true],
  ["/srv/releases/20250101123000/banger", true],
  ["/opt/banger-9f2c1ab/banger", true],
  ["/opt/x86_64/banger", false],
  ["/usr/local/bin/banger", false],
  ["/home/ada/bin/banger", false],
])("whether %s has a version in it: %p", (path, has) => {
  expect(hasVersion(path)).toBe(has)
})
