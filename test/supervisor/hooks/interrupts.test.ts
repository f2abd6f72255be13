import { expect, test } from "bun:test"
import { Failure } from "../../../src/base/terms/failure.ts"
import { watchInterrupts } from "../../../src/supervisor/hooks/interrupts.ts"

test("the first signal asks to stop, the second forces, and each ends the wait of its moment", () => {
  const counts: number[] = []
  const interrupts = watchInterrupts((count) => counts.push(count))
  const first = interrupts.next()
  interrupts.press("SIGTERM")
  expect([first.aborted, interrupts.stop.aborted, interrupts.force.aborted]).toEqual([true, true, false])
  const second = interrupts.next()
  expect(second.aborted).toBe(false)
  interrupts.press("SIGINT")
  expect([second.aborted, interrupts.force.aborted]).toEqual([true, true])
  expect([interrupts.exitCode(), counts]).toEqual([143, [1, 2]])
  interrupts[Symbol.dispose]()
})

test("a real signal is taken over, and given back", async () => {
  const interrupts = watchInterrupts(() => {})
  const before = process.listenerCount("SIGINT")
  process.kill(process.pid, "SIGINT")
  const { promise, resolve } = Promise.withResolvers<void>()
  interrupts.stop.addEventListener("abort", () => resolve())
  await promise
  expect(interrupts.exitCode()).toBe(130)
  interrupts[Symbol.dispose]()
  expect(process.listenerCount("SIGINT")).toBe(before - 1)
})

test("a failure that nobody waits for stops the run once, with its own exit code", () => {
  const interrupts = watchInterrupts(() => {})
  interrupts.fail(new Failure("FAILED", "late"))
  interrupts.fail(new Failure("FAILED", "later"))
  expect([interrupts.stop.aborted, interrupts.force.aborted, interrupts.exitCode()]).toEqual([true, false, 1])
  expect(interrupts.failure()?.message).toBe("late")
  interrupts[Symbol.dispose]()
})
