import { expect, test } from "bun:test"
import { goToRest } from "../../../src/supervisor/rest/goToRest.ts"
import type { Machine } from "../../../src/vm/machine.ts"
import type { Session } from "../../../src/vm/session.ts"

test.each([
  ["one whose end was announced", "guest-shutdown", false, []],
  ["one whose time is up", undefined, true, []],
  ["another", undefined, false, ["events"]],
])("of %s the supervisor asks for what it would take along, or not", async (_what, announced, ends, asked) => {
  const taken: string[] = []
  const control = {
    announced: () => announced,
    inherit() {
      // None: then it cannot rest, and this process stays what it is.
      taken.push("events")
      return undefined
    },
  }
  const machine = { child: { inherit: () => 0 }, control } as unknown as Machine
  const host = { interrupts: { stop: new AbortController().signal }, log: { debug() {} } }
  const session = { layout: {} } as Session
  const over = new AbortController()
  const { promise, resolve } = Promise.withResolvers<void>()
  goToRest(
    host as unknown as Parameters<typeof goToRest>[0],
    {
      ...{ session, machine, name: "vm", consoleLimitBytes: 1024 },
      ...{ until: undefined, over: over.signal, restarts: { count: 0, since: 0 } },
    },
    resolve,
  )
  // Signals are given a moment to be told, in which the end may come.
  if (ends) over.abort()
  await promise
  expect(taken).toEqual([...asked])
})
