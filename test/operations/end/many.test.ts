import { expect, test } from "bun:test"
import { availableParallelism, totalmem } from "node:os"
import { Failure } from "../../../src/base/terms/failure.ts"
import { endMany } from "../../../src/operations/end/many.ts"
import { slotsOf } from "../../../src/operations/end/slots.ts"
import type { State } from "../../../src/store/state/open.ts"

const log = { debug() {}, info() {}, warn() {}, error() {} }
/** Only work that needs another banger reads it. */
const state = {} as State
const VMS = Array.from({ length: 40 }, (_, index) => `vm-${index}`)

test("slots go in turn, and one that is given back twice is one", async () => {
  const slots = slotsOf(2)
  const [first, second] = [await slots.take(), await slots.take()]
  const order: number[] = []
  const taken = [1, 2, 3].map(async (number) => {
    const slot = await slots.take()
    order.push(number)
    return slot
  })
  first.release()
  first.release()
  await taken[0]
  expect(order).toEqual([1])
  second[Symbol.dispose]()
  ;(await taken[0])?.release()
  await Promise.all(taken)
  expect(order).toEqual([1, 2, 3])
})

test("as many VMs are worked on as there are processors, and all of them wait at a time", async () => {
  const now = { working: 0, waiting: 0 }
  const most = { working: 0, waiting: 0 }
  const count = (what: "working" | "waiting", by: number) => {
    now[what] += by
    most[what] = Math.max(most[what], now[what])
  }
  const everybody = Promise.withResolvers<void>()
  const ended: string[] = []
  const exit = await endMany(state, VMS, {
    ...{ log, words: [], saysDone: () => false, onEnd: (vm: string) => void ended.push(vm) },
    async end(_vm, { among }) {
      count("working", 1)
      await Bun.sleep(1)
      count("working", -1)
      count("waiting", 1)
      if (now.waiting === VMS.length) everybody.resolve()
      among?.waits()
      await everybody.promise
      count("waiting", -1)
    },
  })
  expect(exit).toBeUndefined()
  expect(most).toEqual({ working: availableParallelism(), waiting: VMS.length })
  expect(ended.toSorted()).toEqual(VMS.toSorted())
})

test("those whose supervisors are stopped keep no other waiting, however many they are", async () => {
  // More than memory reaches for, were they awake.
  const MANY = Array.from({ length: Math.ceil(totalmem() / (48 * 1024 * 1024)) + 8 }, (_, index) => index)
  let asleep = 0
  const all = Promise.withResolvers<void>()
  await endMany(state, MANY, {
    ...{ log, words: [], saysDone: () => false, onEnd() {} },
    async end(_vm, { among }) {
      among?.sleeps()
      if (++asleep === MANY.length) all.resolve()
      await all.promise
    },
  })
  expect(asleep).toBe(MANY.length)
})

test("one that fails stops no other; after a signal none is begun", async () => {
  const failed: string[] = []
  const work = {
    log,
    words: [],
    saysDone: () => false,
    onEnd: (vm: string, how: object) => void ("failed" in how && failed.push(vm)),
  }
  const unlucky = async (vm: string) => {
    if (vm === "vm-3") throw new Failure("BUSY", "no luck")
  }
  expect(await endMany(state, VMS, { ...work, end: unlucky })).toBeUndefined()
  expect(failed).toEqual(["vm-3"])
  let begun = 0
  const exit = await endMany(state, VMS, {
    ...work,
    async end(_vm, { interrupts }) {
      begun++
      interrupts.press("SIGINT")
    },
  })
  expect(exit).toBe(130)
  expect(begun).toBeLessThanOrEqual(availableParallelism())
})
