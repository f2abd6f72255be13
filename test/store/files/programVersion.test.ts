import { afterAll, beforeAll, expect, test } from "bun:test"
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { versionsIn } from "../../../src/store/files/programVersion.ts"

let dir: string
let program: string
let asked: string
const memory = () => join(dir, "programs.json")

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "banger-version-"))
  program = join(dir, "program")
  asked = join(dir, "asked")
  compile("1")
  await Bun.sleep(2100)
})
afterAll(() => rmSync(dir, { recursive: true }))

/** A program that tells its version, and notes that it was asked. */
function compile(version: string): void {
  const source = `#include <stdio.h>
int main(void) { FILE *f = fopen("${asked}", "a"); fputs("x", f); fclose(f); puts("Program v${version}"); return 0; }`
  writeFileSync(join(dir, "program.c"), source)
  const { exitCode, stderr } = Bun.spawnSync(["cc", "-o", `${program}.new`, join(dir, "program.c")])
  if (exitCode !== 0) throw new Error(stderr.toString())
  Bun.spawnSync(["sh", "-c", `cat ${program}.new > ${program}; chmod 755 ${program}`])
  rmSync(asked, { force: true })
}

const count = () => (statSync(asked, { throwIfNoEntry: false })?.size ?? 0) as number

test("a program is asked once; a changed one is asked again, and not remembered at once", async () => {
  for (let i = 0; i < 3; i++) expect(await versionsIn(dir)(program)).toBe("Program v1\n")
  expect(count()).toBe(1)
  expect(statSync(memory()).mode & 0o777).toBe(0o600)
  const { mtime, size } = statSync(program)
  compile("2")
  expect(statSync(program).size).toBe(size)
  utimesSync(program, mtime, mtime)
  for (let i = 0; i < 2; i++) expect(await versionsIn(dir)(program)).toBe("Program v2\n")
  expect(count()).toBe(2)
  await Bun.sleep(2100)
  for (let i = 0; i < 3; i++) expect(await versionsIn(dir)(program)).toBe("Program v2\n")
  expect(count()).toBe(3)
})

test("a memory that others can write, or that is nonsense, is not believed", async () => {
  const good = readFileSync(memory(), "utf8")
  writeFileSync(memory(), good.replaceAll("v2", "v9"))
  expect(await versionsIn(dir)(program)).toBe("Program v9\n")
  chmodSync(memory(), 0o666)
  expect(await versionsIn(dir)(program)).toBe("Program v2\n")
  for (const bad of ["", "[]", '{"a":1}', "{", good.replaceAll("v2", "v2".repeat(500))]) {
    writeFileSync(memory(), bad)
    chmodSync(memory(), 0o600)
    expect(await versionsIn(dir)(program)).toBe("Program v2\n")
  }
  chmodSync(dir, 0o777)
  writeFileSync(memory(), good.replaceAll("v2", "v9"))
  expect(await versionsIn(dir)(program)).toBe("Program v2\n")
  chmodSync(dir, 0o700)
})

test("a script is asked each time, and so is every program without a state directory", async () => {
  const script = join(dir, "script")
  writeFileSync(script, `#!/bin/sh\nprintf x >> ${asked}\necho Program v3\n`, { mode: 0o755 })
  rmSync(asked, { force: true })
  await Bun.sleep(2100)
  for (let i = 0; i < 2; i++) expect(await versionsIn(dir)(script)).toBe("Program v3\n")
  expect(count()).toBe(2)
  for (const state of [undefined, join(dir, "missing")]) await versionsIn(state)(program)
  expect(count()).toBe(4)
})
