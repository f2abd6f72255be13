import { expect, test } from "bun:test"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { Failure } from "../../../src/base/terms/failure.ts"
import { takeHelperSlot } from "../../../src/operations/helper/slots.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

test("a user has one helper for each VM and 32 more at a time; who ends gives the place to the next, another user has their own", () => {
  const runtime = join(directory.path, "run")
  mkdirSync(runtime, { mode: 0o700 })
  const take = (uid: number, vmsMax: number) => takeHelperSlot(() => runtime, uid, vmsMax)
  const held = Array.from({ length: 34 }, () => take(4242, 2))
  const refused = { code: "BUSY", subject: "sudoVms", message: "uid 4242 has 34 helpers running, and may have no more" }
  expect(() => take(4242, 2)).toThrow(expect.objectContaining(refused))
  held.push(take(4243, 2), take(4242, 3))
  held.splice(20, 1)[0]?.[Symbol.dispose]()
  held.push(take(4242, 2))
  for (const slot of held) slot[Symbol.dispose]()
})

test("where the directory is full, or cannot be made for that, nobody is counted; another trouble is told", () => {
  const full = (error: Error) => () => {
    throw error
  }
  const system = (code: string) => full(Object.assign(new Error(code), { code }))
  for (const trouble of [system("ENOSPC"), system("EROFS"), full(new Failure("NO_SPACE", "full"))])
    takeHelperSlot(trouble, 4242, 1)[Symbol.dispose]()
  expect(() => takeHelperSlot(system("EACCES"), 4242, 1)).toThrow("EACCES")
})
