import { expect, test } from "bun:test"
import { existsSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { keepRemoved } from "../../../src/upkeep/sweep/removedLog.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

test("sweep.log has each line with its time, and never more than two files of a MiB and a sweep's lines", () => {
  const [log, before] = ["sweep.log", "sweep.log.1"].map((name) => join(directory.path, name)) as [string, string]
  keepRemoved(directory.path, [])
  expect(existsSync(log)).toBe(false)
  keepRemoved(directory.path, ["one", "two"])
  expect(readFileSync(log, "utf8")).toMatch(/^\d{4}-\S+Z removed one\n\d{4}-\S+Z removed two\n$/)
  const lines = Array.from({ length: 1000 }, () => "x".repeat(200))
  const sweepBytes = 1000 * 240
  for (let sweep = 0; sweep < 30; sweep++) keepRemoved(directory.path, lines)
  for (const path of [log, before])
    if (existsSync(path)) expect(statSync(path).size).toBeLessThan(1024 * 1024 + sweepBytes)
  expect(existsSync(before)).toBe(true)
  expect(existsSync(join(directory.path, "sweep.log.2"))).toBe(false)
})

test("where there is no state directory nothing is kept, and nothing fails", () => {
  keepRemoved(join(directory.path, "none"), ["one"])
  expect(existsSync(join(directory.path, "none"))).toBe(false)
})
