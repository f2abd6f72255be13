import { expect, test } from "bun:test"
import { placeOf, usersFirst, withPlace } from "../../../src/base/terms/compiled.ts"

const thrown = (...frames: readonly string[]) =>
  Object.assign(new Error("no"), { stack: ["Error: no", ...frames.map((frame) => `    at ${frame}`)].join("\n") })

test.each<[string, unknown, string | undefined]>([
  ["a function of the plugin's", thrown("boom (/p/helper.ts:3:12)", "/p/plugin.ts:9:5"), "/p/helper.ts:3:12"],
  ["no function", thrown("/p/plugin.ts:9:5"), "/p/plugin.ts:9:5"],
  ["an async function", thrown("async configure (/p/plugin.ts:9:5)"), "/p/plugin.ts:9:5"],
  ["a name with spaces and brackets", thrown("x (/p (1)/a b.ts:1:2)"), "/p (1)/a b.ts:1:2"],
  ["the runtime's", thrown("parse (native)", "readFileSync (node:fs:1:2)", "x (/p/a.ts:1:2)"), "/p/a.ts:1:2"],
  ["a package's", thrown("c (/p/node_modules/y/c.js:70:5)", "x (/p/a.ts:1:2)"), "/p/a.ts:1:2"],
  ["a package's alone", thrown("c (/p/node_modules/y/c.js:70:5)"), "/p/node_modules/y/c.js:70:5"],
  ["this program's", thrown("runHook (/$bunfs/root/chunk-1.js:8:23)"), undefined],
  ["this program's source", thrown(`runHook (${import.meta.dir.replace(/test\/.*/, "src/x.ts")}:8:23)`), undefined],
  ["no error", "a string", undefined],
  ["an error without a stack", Object.assign(new Error("no"), { stack: undefined }), undefined],
])("the place of an error in %s", (_, error, place) => {
  expect(placeOf(error)).toBe(place)
  expect(withPlace(error, "words")).toBe(place === undefined ? "words" : `${place}: words`)
})

test("a stack shows the user's frames first", () => {
  const { stack } = thrown("runHook (/$bunfs/root/c.js:8:23)", "x (/p/a.ts:1:2)", "span (/$bunfs/root/c.js:9:1)")
  expect(
    usersFirst(stack)
      .split("\n")
      .map((line) => line.trim()),
  ).toEqual([
    "Error: no",
    "at x (/p/a.ts:1:2)",
    "at runHook (/$bunfs/root/c.js:8:23)",
    "at span (/$bunfs/root/c.js:9:1)",
  ])
})
