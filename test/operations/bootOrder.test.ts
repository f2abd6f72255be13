import { expect, test } from "bun:test"
import { bootOrder } from "../../src/operations/bootOrder.ts"

const order = (after: Readonly<Record<string, readonly string[]>>) => {
  const { places, dropped } = bootOrder(
    Object.entries(after).map(([name, others]) => ({ vm: name, name, after: others })),
  )
  return {
    order: places.map(({ vm }) => vm).join(" "),
    waits: Object.fromEntries(places.flatMap(({ vm, waitsFor }) => (waitsFor.length === 0 ? [] : [[vm, waitsFor]]))),
    dropped: dropped.map(({ name, after: other }) => `${name} after ${other}`),
  }
}

test("each VM is started behind those that it is after, and else as they come", () => {
  expect(order({})).toEqual({ order: "", waits: {}, dropped: [] })
  expect(order({ b: [], a: [] }).order).toBe("b a")
  expect(order({ web: ["db", "cache"], cache: ["db"], db: [] })).toEqual({
    order: "db cache web",
    waits: { web: ["db", "cache"], cache: ["db"] },
    dropped: [],
  })
  expect(order({ a: ["b"], c: ["b"], b: [] })).toEqual({ order: "b a c", waits: { a: ["b"], c: ["b"] }, dropped: [] })
  expect(order({ a: ["b", "b"], b: [] }).waits).toEqual({ a: ["b"] })
})

test("what is not started at all is not waited for", () => {
  expect(order({ web: ["db"] })).toEqual({ order: "web", waits: {}, dropped: [] })
  expect(order({ constructor: ["__proto__"] })).toEqual({ order: "constructor", waits: {}, dropped: [] })
})

test("a circle is cut where it closes, and all of it are started", () => {
  expect(order({ a: ["a"] })).toEqual({ order: "a", waits: {}, dropped: ["a after a"] })
  expect(order({ a: ["b"], b: ["c"], c: ["a"] })).toEqual({
    order: "c b a",
    waits: { a: ["b"], b: ["c"] },
    dropped: ["c after a"],
  })
})

test("nobody waits for one that stands behind it, whatever the names", () => {
  const names = ["a", "b", "c", "d", "e", "f"]
  let seed = 7
  const random = () => {
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed / 2147483648
  }
  for (let round = 0; round < 500; round++) {
    const vms = names.map((name) => ({ vm: name, name, after: names.filter(() => random() < 0.3) }))
    const { places, dropped } = bootOrder(vms)
    const at = (name: string) => places.findIndex(({ vm }) => vm === name)
    expect(places.map(({ vm }) => vm).sort()).toEqual(names)
    for (const { vm, waitsFor } of places) for (const name of waitsFor) expect(at(name)).toBeLessThan(at(vm))
    const kept = places.flatMap(({ vm, waitsFor }) => waitsFor.map((name) => `${vm} ${name}`))
    const asked = vms.flatMap(({ name, after }) => after.map((other) => `${name} ${other}`))
    expect([...kept, ...dropped.map(({ name, after }) => `${name} ${after}`)].sort()).toEqual(asked.sort())
  }
})
