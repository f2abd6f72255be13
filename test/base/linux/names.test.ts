import { expect, test } from "bun:test"
import { constants } from "node:os"
import { errnoName } from "../../../src/base/linux/errors.ts"
import { SIGNALS } from "../../../src/base/linux/names.ts"

test("errors and signals have the names that this system gives them; of two names the usual one", () => {
  const aliases = ["EWOULDBLOCK", "ENOTSUP", "SIGIOT", "SIGPOLL"]
  const usual = (numbers: object) => Object.entries(numbers).filter(([name]) => !aliases.includes(name))
  for (const [name, number] of usual(constants.errno)) expect([number, errnoName(number)]).toEqual([number, name])
  for (const [name, number] of usual(constants.signals)) expect([number, SIGNALS[number]]).toEqual([number, name])
  expect([0, 41, 133, 134].map(errnoName)).toEqual(["E0", "E41", "EHWPOISON", "E134"])
})
