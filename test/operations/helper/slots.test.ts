import { expect, test } from "bun:test"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { takeHelperSlot } from "../../../src/operations/helper/slots.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

test("a user has one helper for each VM and 32 more at a time; who ends gives the place to the next, another user has their own", () => {
  const runtime = join(directory.path, "run")
  mkdirSync(runtime, { mode: 0o700 })
  const held = Array.from({ length: 34 }, () => takeHelperSlot(runtime, 4242, 2))
  const refused = { code: "BUSY", subject: "sudoVms", message: "uid 4242 has 34 helpers running, and may have no more" }
  expect(() => takeHelperSlot(runtime, 4242, 2)).toThrow(expect.objectContaining(refused))
  held.push(takeHelperSlot(runtime, 4243, 2), takeHelperSlot(runtime, 4242, 3))
  held.splice(20, 1)[0]?.[Symbol.dispose]()
  held.push(takeHelperSlot(runtime, 4242, 2))
  for (const slot of held) slot[Symbol.dispose]()
})
