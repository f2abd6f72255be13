import { expect, test } from "bun:test"
import { strictJson } from "../../../src/inputs/helper/strictJson.ts"

const BOUNDS = { depth: 16, members: 64 }
const read = (text: string) => strictJson(text, BOUNDS)
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

test("what JSON.stringify writes of an object is read as JSON.parse reads it", () => {
  const values: readonly unknown[] = [
    {},
    { a: 1, b: -0.5e-3, c: true, d: false, e: null, f: "", g: [], h: {} },
    { text: 'quotes " and \\ / \b\f\n\r\t \u2028 é 漢 😀', nested: [{ a: [[1], [2]] }] },
    { "": 1, "a b": 2, toString: 3, hasOwnProperty: 4 },
    { long: "x".repeat(60_000), escaped: "\n".repeat(20_000) },
  ]
  for (const value of values)
    for (const text of [JSON.stringify(value), JSON.stringify(value, null, 2), ` \t\r\n${JSON.stringify(value)}\n `])
      expect(plain(read(text))).toEqual(JSON.parse(text))
})

test("its objects have no prototype", () => {
  const { a } = read('{"a":{"b":1}}') as { a: object }
  expect(Object.getPrototypeOf(a)).toBe(null)
  expect("toString" in a).toBe(false)
})

for (const [what, text] of [
  ["nothing", ""],
  ["a list", "[]"],
  ["a number", "1"],
  ["two objects", "{}{}"],
  ["a comma too many", '{"a":1,}'],
  ["a comma in a list", "[1,]"],
  ["no colon", '{"a" 1}'],
  ["no quotes", "{a:1}"],
  ["single quotes", "{'a':1}"],
  ["a comment", "{/**/}"],
  ["a leading zero", '{"a":01}'],
  ["a plus", '{"a":+1}'],
  ["no digits", '{"a":.5}'],
  ["hex", '{"a":0x1}'],
  ["infinity", '{"a":1e309}'],
  ["NaN", '{"a":NaN}'],
  ["a raw newline", '{"a":"\n"}'],
  ["a bad escape", '{"a":"\\x41"}'],
  ["a short escape", '{"a":"\\u12"}'],
  ["an unpaired surrogate", '{"a":"\\ud800"}'],
  ["one in a key", '{"\\udc00":1}'],
  ["a string without an end", '{"a":"'],
  ["another space", '{\u00a0"a":1}'],
  ["a byte order mark", "\ufeff{}"],
  ["a key twice", '{"a":1,"a":1}'],
  ["one written otherwise", '{"a":1,"\\u0061":1}'],
  ["one twice, deep", '{"x":[{"a":1,"b":2,"a":3}]}'],
  ["__proto__", '{"__proto__":{}}'],
  ["one written otherwise", '{"__pr\\u006fto__":{}}'],
  ["constructor", '{"a":[{"constructor":1}]}'],
  ["prototype", '{"prototype":1}'],
  ["too deep", `${'{"a":'.repeat(17)}1${"}".repeat(17)}`],
  ["lists too deep", `{"a":${"[".repeat(16)}${"]".repeat(16)}}`],
  ["a bottomless one", `{"a":${"[".repeat(60_000)}`],
  ["too many members", `{"a":[${"1,".repeat(64)}1]}`],
  ["too many keys", `{${Array.from({ length: 65 }, (_, index) => `"k${index}":1`).join()}}`],
] as const)
  test(`${what}: refused, and nothing of it is said`, () => {
    expect(() => read(text)).toThrow(/^not a message: [^"\\\u0000-\u001f]*$/)
  })

test("as much as is allowed is read", () => {
  expect(read(`${'{"a":'.repeat(16)}1${"}".repeat(16)}`)).toBeDefined()
  expect(read(`{"a":[${"1,".repeat(63)}1]}`)).toBeDefined()
})

test("whatever becomes of a message on its way, it is read as JSON.parse reads it, or refused by a failure", () => {
  const seed = JSON.stringify({
    id: 1,
    verb: "run",
    spec: { name: "a", drives: [{ path: "/x" }], é: "\u0007" },
    args: ["", "\\"],
    n: -1.5e3,
  })
  let state = 12345
  const random = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) % below
  }
  const alphabet = `{}[]",:\\/u0019eE+-.truefalsn \n\t\u0000\ud800é_proto`
  let read_ = 0
  for (let round = 0; round < 100_000; round++) {
    let text = seed
    for (let change = random(4); change >= 0; change--) {
      const at = random(text.length + 1)
      const put =
        random(3) === 0
          ? text.slice(random(text.length), random(text.length))
          : (alphabet[random(alphabet.length)] ?? "")
      text = text.slice(0, at) + put + text.slice(at + random(3))
    }
    let got: unknown
    try {
      got = read(text)
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith("not a message: "))
        throw new Error(text, { cause: error })
      continue
    }
    read_++
    expect(plain(got)).toEqual(plain(JSON.parse(text)))
  }
  expect(read_).toBeGreaterThan(1000)
})
