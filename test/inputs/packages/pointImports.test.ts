import { expect, test } from "bun:test"
import { placeOfImport, pointImports } from "../../../src/inputs/packages/pointImports.ts"

const pointed = (text: string) =>
  pointImports(text, new Bun.Transpiler({ loader: "ts", target: "bun" }), (word) =>
    word === "a" ? `/real "path"/it's/a.js` : undefined,
  )
const A = String.raw`/real \"path\"/it\'s/a.js`

test.each([
  ['import x from "a"; x()', `import x from "${A}"; x()`],
  ['import x, { type T } from\n  "a"\nx()', `import x, { type T } from\n  "${A}"\nx()`],
  ["import{x}from'a';x()", `import{x}from'${A}';x()`],
  ['import "a"', `import "${A}"`],
  ['export * from /* why */ "a"', `export * from /* why */ "${A}"`],
  ['await import("a")', `await import("${A}")`],
  ["await import(`a`)", `await import(\`${A}\`)`],
  ['import x from "b"; x()', 'import x from "b"; x()'],
  ['import x from "b"; require("a"); x()', 'import x from "b"; require("a"); x()'],
  [`// import "a"\nimport x from "a"; x('import "a"')`, `// import "a"\nimport x from "${A}"; x('import "a"')`],
])("%p", (text, wanted) => {
  expect(pointed(text)).toBe(wanted)
})

test("an import's place is its word's, by line and column from 1", () => {
  expect(placeOfImport('\n\nimport x from "a"', "a")).toEqual({ line: 3, column: 16 })
  expect(placeOfImport('import x from "b"', "a")).toBeUndefined()
})
