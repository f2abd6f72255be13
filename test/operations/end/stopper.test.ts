import { expect, test } from "bun:test"
import { startStopper } from "../../../src/operations/end/stopper.ts"

const silent = { debug() {}, info() {}, warn() {}, error() {} }

test("a signal that came before what runs hooks was loaded counts there too: the second one forces", async () => {
  const stopper = startStopper(silent)
  stopper.interrupts.press("SIGINT")
  const { interrupts } = await stopper.pluginHost()
  expect({ stop: interrupts.stop.aborted, force: interrupts.force.aborted }).toEqual({ stop: true, force: false })
  stopper.interrupts.press("SIGINT")
  expect(interrupts.force.aborted).toBe(true)
  const before = process.listenerCount("SIGINT")
  stopper[Symbol.dispose]()
  expect(process.listenerCount("SIGINT")).toBe(before - 1)
})
