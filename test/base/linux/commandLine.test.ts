import { expect, test } from "bun:test"
import { hasFlag, hasParameter, parameterOf, partsOf, withParameters } from "../../../src/base/linux/commandLine.ts"

test.each([
  ["", "ip=dhcp", "ip=dhcp"],
  ["quiet", "ip=dhcp", "quiet ip=dhcp"],
  ["quiet ", "ip=dhcp", "quiet ip=dhcp"],
  ["console=ttyS0 -- one two", "ip=dhcp", "console=ttyS0 ip=dhcp -- one two"],
  ["console=ttyS0 --", "ip=dhcp", "console=ttyS0 ip=dhcp --"],
  ["-- one", "ip=dhcp", "ip=dhcp -- one"],
  ["quiet  --  one  two ", "ip=dhcp", "quiet  ip=dhcp --  one  two "],
  ['a="b -- c" quiet', "ip=dhcp", 'a="b -- c" quiet ip=dhcp'],
  ['"a=b -- c" -- d', "ip=dhcp", '"a=b -- c" ip=dhcp -- d'],
  ["a=-- b--c --d", "ip=dhcp", "a=-- b--c --d ip=dhcp"],
  ['quiet a="b c', "ip=dhcp", 'quiet ip=dhcp a="b c'],
  ["quiet\t--\tone", "ip=dhcp", "quiet\tip=dhcp --\tone"],
  ["one -- two -- three", "ip=dhcp", "one ip=dhcp -- two -- three"],
  ['one "--" two', "ip=dhcp", 'one ip=dhcp "--" two'],
  ["--=x -- two", "ip=dhcp", "--=x ip=dhcp -- two"],
  ["a=1 --root=/dev/vdb -- root=/dev/vdc", "root=/dev/vda", "a=1 --root=/dev/vdb root=/dev/vda -- root=/dev/vdc"],
  ["a=\u00a0-- b\u3000-- c", "ip=dhcp", "a=\u00a0-- b\u3000-- c ip=dhcp"],
])("%j with %s is %j", (line, word, expected) => {
  expect(withParameters(line, [word])).toBe(expected)
  expect(withParameters(line, [])).toBe(line)
})

test("a parameter is there where the kernel finds it", () => {
  const has = (line: string, name = "ip") => hasParameter(line, name)
  for (const line of ["ip=dhcp", "quiet ip=dhcp -- x", 'ip="a b"', '"ip=a b"', "ip=", 'a="x y" ip=1'])
    expect({ line, has: has(line) }).toEqual({ line, has: true })
  for (const line of ["", "ip", "xip=1", "-- ip=dhcp", 'a="ip=dhcp"', 'a="b ip=dhcp c"', "ipv6=1", 'a=" ip=dhcp'])
    expect({ line, has: has(line) }).toEqual({ line, has: false })
  expect(has("tsc-early_khz=5", "tsc_early_khz")).toBe(true)
  expect(hasParameter("pci=off,noacpi", "pci", (value) => value.split(",").includes("off"))).toBe(true)
})

test.each([
  ["", "", undefined],
  ["quiet ", "quiet", undefined],
  ["quiet -- one  two", "quiet", "one  two"],
  ["quiet  --", "quiet", ""],
  ["-- one -- two", "", "one -- two"],
  ['quiet "--" one', "quiet", "one"],
  ['a="b -- c" -- d', 'a="b -- c"', "d"],
  ['quiet a="b -- c', 'quiet a="b -- c"', undefined],
])("%j has for the kernel %j, for init %j", (line, own, init) => {
  expect(partsOf(line)).toEqual({ own, init })
})

test("of two the last counts", () => {
  expect(parameterOf("ip=1 quiet ip=2 -- ip=3", "ip")).toBe("2")
  expect(parameterOf('root="/dev/v da"', "root")).toBe("/dev/v da")
  expect(parameterOf("quiet", "ip")).toBeUndefined()
})

test("whatever a line is, all of it stays, and the new word is the kernel's", () => {
  let seed = 11
  const next = (below: number) => {
    seed = (seed * 1103515245 + 12345) % 2147483648
    return Math.floor((seed / 2147483648) * below)
  }
  const pieces = ["a", "b=c", "--", " ", "  ", '"', "=", "x=-- ", "\t", "-"]
  for (let round = 0; round < 5000; round++) {
    const line = Array.from({ length: next(9) }, () => pieces[next(pieces.length)]).join("")
    const made = withParameters(line, ["new=1"])
    expect({ line, has: hasParameter(made, "new") }).toEqual({ line, has: true })
    expect({ line, same: made.replace(/ ?new=1 ?/, "").replace(/\s/g, "") }).toEqual({
      line,
      same: line.replace(/\s/g, ""),
    })
  }
})

for (const [line, has] of [
  ["quiet", true],
  ['console=ttyS0 "quiet"', true],
  ["quiet=1", false],
  ["root=quiet -- quiet", false],
] as const)
  test(`quiet is ${has ? "" : "not "}a word of ${line}`, () => expect(hasFlag(line, "quiet")).toBe(has))
