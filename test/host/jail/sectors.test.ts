import { expect, test } from "bun:test"
import { readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { O } from "../../../src/base/linux/constants.ts"
import { openAt, withDescriptor } from "../../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../../src/base/linux/guards.ts"
import { paddedBytes, padToSectors, requireWhole } from "../../../src/host/jail/sectors.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

test("a file that ends within a sector is padded to whole blocks, any other keeps its size", () => {
  expect([0, 1, 511, 512, 513, 1536, 4095, 4096, 4097].map(paddedBytes)).toEqual([
    ...[0, 4096, 4096, 512, 4096, 1536, 4096, 4096, 8192],
  ])
})

test("what is padded keeps its content, and zeros follow", () => {
  const path = join(directory.path, "disk")
  writeFileSync(path, "content")
  withDescriptor(openAt(AT_FDCWD, path, O.RDWR), padToSectors)
  expect(readFileSync(path, "latin1")).toBe(`content${"\0".repeat(4089)}`)
  expect(statSync(path).blocks).toBeLessThanOrEqual(8)
})

test("an image that is shared is refused with a command that mends it, also one whose name a shell would cut", () => {
  const refusal = (path: string, bytes: number, jailed: boolean) => {
    try {
      requireWhole({ setting: "drives[1].path", path, bytes }, { jailed })
    } catch (error) {
      return error
    }
    return undefined
  }
  expect(refusal("/a", 512, true)).toBeUndefined()
  expect(refusal("/it's", 1, false)).toMatchObject({
    code: "BAD_FILE",
    message: "drives[1].path: /it's is no whole number of 512-byte sectors: a guest would not see its last 1 bytes",
    hint: "pad it with zeros: truncate -s %512 '/it'\\''s'",
    subject: "/it's",
  })
  expect(refusal("/a", 1023, true)).toMatchObject({
    hint: 'pad it with zeros: truncate -s %512 /a, or give the VM a padded copy: stage: "copy"',
  })
  expect(refusal("/a", 0, true)).toMatchObject({ message: "drives[1].path: /a is empty" })
})
