import { expect, test } from "bun:test"
import { isTold, wordsOf } from "../../../src/operations/helper/verbs.ts"

const words = (request: object) =>
  wordsOf({ id: 1, vm: "web", ...request } as Parameters<typeof wordsOf>[0], "web-1").join(" ")

for (const [request, is] of [
  [{ verb: "logs", which: "console" }, "logs web-1"],
  [{ verb: "logs", which: "vmm", follow: true, json: true }, "logs --vmm --follow --json web-1"],
  [{ verb: "logs", which: "console", tail: 5 }, "logs --tail=5 web-1"],
  [{ verb: "events" }, "events web-1"],
  [{ verb: "events", follow: true }, "events --follow web-1"],
  [{ verb: "stop" }, "--json stop web-1"],
  [{ verb: "stop", timeoutMs: 1500 }, "--json stop --timeout=1500ms web-1"],
  [{ verb: "kill" }, "--json kill web-1"],
  [{ verb: "wait", timeoutMs: 1 }, "--json wait --timeout=1ms web-1"],
  [{ verb: "rm" }, "--json rm web-1"],
  [{ verb: "rm", force: true }, "--json rm --force web-1"],
] as const)
  test(`${JSON.stringify(request)}: ${is}`, () => expect(words(request)).toBe(is))

test("what is told at once is no command", () => {
  expect(isTold({ id: 1, verb: "list" })).toBe(true)
  expect(isTold({ id: 1, verb: "kill", vm: "a" })).toBe(false)
})
