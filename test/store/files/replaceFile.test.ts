import { expect, test } from "bun:test"
import { readdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { removeAbandoned, replaceFile } from "../../../src/store/files/replaceFile.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

test("what a killed process left of a replacement goes; what a living one is writing stays", () => {
  const { pid } = Bun.spawnSync(["true"])
  const write = (name: string) => writeFileSync(join(directory.path, name), "")
  for (const name of [`.a.json.${pid}.tmp`, `.a.json.${process.pid}.tmp`, ".a.json.x.tmp", `a.json.${pid}.tmp`])
    write(name)
  replaceFile(join(directory.path, "b.json"), "b")
  removeAbandoned(directory.path)
  expect(readdirSync(directory.path).sort()).toEqual([
    `.a.json.${process.pid}.tmp`,
    ".a.json.x.tmp",
    `a.json.${pid}.tmp`,
    "b.json",
  ])
})
