import { expect, test } from "bun:test"
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { vmLayout } from "../../src/store/state/places.ts"
import { awaitChange } from "../../src/vm/awaitChange.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()
const layout = () => vmLayout({ state: directory.path, runtime: join(directory.path, "run") }, "vm-1")
const never = new AbortController().signal

/** How many milliseconds a wait takes, the quickest of three: the machine may be busy. */
async function took(change: () => void, signal = () => never): Promise<number> {
  let quickest = Number.POSITIVE_INFINITY
  for (let tries = 0; tries < 3; tries++) {
    const start = performance.now()
    const waited = awaitChange(layout(), signal())
    change()
    await waited
    quickest = Math.min(quickest, performance.now() - start)
  }
  return quickest
}

test("a line in events.jsonl and a change of the lock are seen at once, sooner than by looking now and then", async () => {
  mkdirSync(layout().dir, { recursive: true })
  expect(await took(() => appendFileSync(layout().events, "{}\n"))).toBeLessThan(200)
  expect(await took(() => writeFileSync(layout().lock, "x"))).toBeLessThan(200)
})

test("without a change it looks again in a quarter of a second; a change of another file is none", async () => {
  mkdirSync(layout().dir, { recursive: true })
  expect(await took(() => {})).toBeGreaterThan(200)
  expect(await took(() => writeFileSync(layout().consoleLog, "x"))).toBeGreaterThan(200)
})

test("a VM whose directory is not there is looked at all the same", async () => {
  expect(await took(() => {})).toBeGreaterThan(200)
})

test("the wait ends at once when it is called off, before or meanwhile", async () => {
  mkdirSync(layout().dir, { recursive: true })
  expect(
    await took(
      () => {},
      () => AbortSignal.abort(),
    ),
  ).toBeLessThan(100)
  let controller = new AbortController()
  const quick = await took(
    () => controller.abort(),
    () => {
      controller = new AbortController()
      return controller.signal
    },
  )
  expect(quick).toBeLessThan(100)
})
