import { expect, test } from "bun:test"
import type { ArgsDef } from "citty"
import { parseWords } from "../../src/cli/terminal/parse.ts"

const ARGS: ArgsDef = {
  file: { type: "positional", required: true },
  name: { type: "string" },
  vmm: { type: "enum", options: ["auto", "qemu"] },
  json: { type: "boolean", alias: "j" },
  "keep-on-failure": { type: "boolean" },
}
const parse = (...words: string[]) => parseWords(words, ARGS)

test.each([
  [["a.ts"], { file: "a.ts" }],
  [["--json", "a.ts"], { file: "a.ts", json: true }],
  [["a.ts", "-j"], { file: "a.ts", json: true }],
  [["--name", "x", "a.ts"], { file: "a.ts", name: "x" }],
  [["--name=x=y", "a.ts"], { file: "a.ts", name: "x=y" }],
  [["--name=-x", "a.ts"], { file: "a.ts", name: "-x" }],
  [["--name", "-", "a.ts"], { file: "a.ts", name: "-" }],
  [["--no-json", "a.ts"], { file: "a.ts", json: false }],
  [["-"], { file: "-" }],
  [["a.ts", "--vmm", "qemu", "--keep-on-failure"], { file: "a.ts", vmm: "qemu", "keep-on-failure": true }],
] as const)("%p is understood", (words, values) => expect(parse(...words).values).toEqual(values))

test("words after -- are the plugin's, whatever they look like", () => {
  expect(parse("a.ts", "--", "--help", "-j", "--", "x")).toEqual({
    values: { file: "a.ts" },
    more: [],
    rest: ["--help", "-j", "--", "x"],
    options: [],
  })
})

test("the options that were given are told again, however they were spelled", () => {
  const { options } = parse("-j", "a.ts", "--name=-x", "--no-keep-on-failure")
  expect(options).toEqual(["--json", "--name=-x", "--no-keep-on-failure"])
  expect(parse(...options, "a.ts").values).toEqual(parse("-j", "a.ts", "--name=-x", "--no-keep-on-failure").values)
})

test("what was not given has its default", () => {
  const args: ArgsDef = { file: { type: "positional", default: "x.ts" }, grace: { type: "string", default: "60s" } }
  expect(parseWords([], args).values).toEqual({ file: "x.ts", grace: "60s" })
  expect(parseWords(["y.ts", "--grace", "1s"], args).values).toEqual({ file: "y.ts", grace: "1s" })
})

test.each([
  [["--jsn", "a.ts"], "unknown option --jsn"],
  [["-x", "a.ts"], "unknown option -x"],
  [["a.ts", "b.ts"], "unexpected argument b.ts"],
  [[], "FILE is missing"],
  [["a.ts", "--name"], "--name needs a value"],
  [["a.ts", "--name="], "--name needs a value"],
  [["a.ts", "--name", "--json"], "--name needs a value"],
  [["--name", "-x", "a.ts"], "--name needs a value"],
  [["a.ts", "--name", ""], "--name needs a value"],
  [["a.ts", "--json=yes"], "--json takes no value"],
  [["a.ts", "--json", "--json"], "--json is given twice"],
  [["a.ts", "--vmm", "xen"], "--vmm takes one of: auto, qemu"],
  [["a.ts", "--constructor"], "unknown option --constructor"],
  [["a.ts", "--__proto__"], "unknown option --__proto__"],
  [["a.ts", "--no-name"], "unknown option --no-name"],
  [["a.ts", "--json", "-j"], "-j is given twice"],
  [["a.ts", "--json", "--no-json"], "--no-json is given twice"],
] as const)("%p is refused", (words, message) => expect(() => parse(...words)).toThrow(message))
