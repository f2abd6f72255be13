import { expect, test } from "bun:test"
import { command, compare, median } from "../../bench/compare.ts"
import { resetGuest } from "../../bench/resetGuest.ts"

test.each([
  [[3, 1, 2], 2],
  [[4, 1, 2, 3], 2.5],
  [[7], 7],
])("the median of %p is %d", (values, middle) => expect(median(values)).toBe(middle))

test("contenders run in turn, the first round of each uncounted", async () => {
  const order: string[] = []
  const contender = (label: string) => ({ label, run: async () => void order.push(label) })
  const result = await compare({ name: "x", about: "", rounds: 2, ours: contender("A"), reference: contender("B") })
  expect(order).toEqual(["A", "B", "A", "B", "A", "B"])
  expect(result).toMatchObject({ name: "x", reference: "B" })
})

test("what is done before and after a run is done each time", async () => {
  const order: string[] = []
  const say = (word: string) => async () => void order.push(word)
  const ours = { label: "A", prepare: say("before"), run: say("run"), finish: say("after") }
  await compare({ name: "x", about: "", rounds: 1, ours, reference: { label: "B", run: say("B") } })
  expect(order).toEqual(["before", "run", "after", "B", "before", "run", "after", "B"])
})

test("a command that fails is no measurement", () => {
  expect(command("false", ["sh", "-c", "echo why >&2; exit 3"]).run()).rejects.toThrow("failed: why")
})

test("the guest that resets at once is an ELF with a PVH note", () => {
  const file = Buffer.from(resetGuest())
  expect(file.subarray(0, 4).toString("latin1")).toBe("\x7fELF")
  expect(file.includes("Xen\0")).toBe(true)
  expect(file.length).toBe(64 + 2 * 56 + 7 + 20)
})
