import { expect, test } from "bun:test"
import { join } from "node:path"
import { type Resource, readHandles, writeHandles } from "../../../src/store/state/handles.ts"
import { keeping, keptNow, parseWish } from "../../../src/supervisor/keep/keeping.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

test("what a hook keeps has every default", () => {
  expect(parseWish({ kind: "loop", file: "/a" })).toEqual({
    kind: "loop",
    file: "/a",
    readonly: false,
    offset: 0,
    sizeLimit: 0,
  })
  expect(parseWish({ kind: "dm", name: "a", table: ["0 8 zero"] })).toEqual({
    kind: "dm",
    name: "a",
    table: ["0 8 zero"],
    readonly: false,
  })
  expect(parseWish({ kind: "lvm", origin: "vg/lv", size: "1G" })).toEqual({
    kind: "lvm",
    origin: "vg/lv",
    sizeBytes: 1024 ** 3,
  })
})

const command = { kind: "command", what: "a", still: ["/bin/true"], release: ["/bin/true"] }
test.each([
  [{ kind: "loop", file: "a" }, "an absolute path"],
  [{ kind: "loop", file: "/a\0" }, "an absolute path"],
  [{ kind: "loop", file: "/a", size: 100 }, "in sectors of 512"],
  [{ kind: "loop", file: "/a", sise: 512 }, "no other fields"],
  [{ kind: "dm", name: "../x", table: ["0 8 zero"] }, "a name of letters"],
  [{ kind: "dm", name: "a", table: [] }, "one line at least"],
  [{ kind: "lvm", origin: "vg/../x" }, '"group/volume"'],
  [{ kind: "lvm", origin: "--config=/x" }, '"group/volume"'],
  [{ kind: "lvm", origin: "vg/lv", size: "lots" }, "a size with its unit"],
  [{ ...command, still: ["true"] }, "a program's absolute path"],
  [{ ...command, release: [] }, "a program's absolute path"],
  [{ ...command, release: ["/bin/sh", "-c", "x".repeat(5000)] }, "at most 64 words and 4 KiB"],
  [{ ...command, still: ["/bin/true", ...Array(64).fill("a")] }, "at most 64 words and 4 KiB"],
  [{ ...command, what: "" }, "words"],
  [{ kind: "tape" }, '"loop", "dm", "lvm", "mount" or "command"'],
  [undefined, ""],
])("%p is refused", (thing, words) => {
  expect(() => parseWish(thing)).toThrow(
    expect.objectContaining({ code: "BAD_PLUGIN", message: expect.stringContaining(words) }),
  )
})

/** A journal in memory; `written` is told what it holds at each change. */
function memory(written: (resources: readonly Resource[]) => void = () => {}) {
  let resources: readonly Resource[] = []
  const change = (next: readonly Resource[]) => {
    resources = next
    written(next)
  }
  return {
    id: "vm-1",
    journal: {
      get resources() {
        return resources
      },
      acquire: (...added: Resource[]) => change([...resources, ...added]),
      refine: (one: Resource) =>
        change(
          resources.map((old) => (old.kind === "kept" && one.kind === "kept" && old.number === one.number ? one : old)),
        ),
      keepOnly: change,
    },
  } as unknown as Parameters<typeof keeping>[0]
}

test("a thing is on the journal when keep resolves, numbered; the hook sees it", async () => {
  const session = memory()
  const keep = keeping(session, new AbortController().signal)
  const thing = { ...command, kind: "command" as const }
  expect(await keep(thing)).toEqual({ kind: "command", number: 1, what: "a", path: undefined })
  expect(await keep({ ...thing, what: "b" })).toMatchObject({ number: 2 })
  expect(keptNow(session).map(({ what }) => what)).toEqual(["a", "b"])
})

test("a journal of as many of the largest things as there may be is still believed", async () => {
  const session = memory()
  const keep = keeping(session, new AbortController().signal)
  const words = ["/bin/sh", ...Array(62).fill("\u{1F600}".repeat(15)), "x".repeat(30)]
  const thing = { kind: "command" as const, what: "\u0001".repeat(200), still: words, release: words }
  for (let count = 0; count < 64; count++) await keep(thing)
  const path = join(directory.path, "handles.json")
  writeHandles(path, { generation: 1, journal: session.journal.resources })
  expect(readHandles(path)).toMatchObject({ is: "good" })
})

test("once the hook is over, nothing is kept any more; nor more than 64 things", async () => {
  const session = memory()
  const over = new AbortController()
  const keep = keeping(session, over.signal)
  const thing = { ...command, kind: "command" as const }
  for (let count = 0; count < 64; count++) await keep(thing)
  await expect(keep(thing)).rejects.toThrow("at most 64 things")
  over.abort(new Error("over"))
  await expect(keep(thing)).rejects.toThrow("over")
  expect(keptNow(session)).toHaveLength(64)
})

test("what cannot be made is not on the journal afterwards, but was before it was tried", async () => {
  const seen: number[] = []
  const session = memory((resources) => void seen.push(resources.length))
  const keep = keeping(session, new AbortController().signal)
  await expect(keep({ kind: "dm", name: "a", table: ["0 8 no-such-target"] })).rejects.toThrow()
  expect(seen).toEqual([1, 0])
})
