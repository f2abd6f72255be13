import { expect, test } from "bun:test"
import { parseTarget } from "../../../src/host/kept/deviceMapper.ts"

test("a line of a table is what dmsetup takes", () => {
  expect(parseTarget("0 2048 linear /dev/sda 0")).toEqual({
    ...{ start: 0, length: 2048, type: "linear", parameters: "/dev/sda 0" },
  })
  expect(parseTarget("  0 8  snapshot /dev/a /dev/b  P 8 ")).toMatchObject({
    type: "snapshot",
    parameters: "/dev/a /dev/b  P 8",
  })
  expect(parseTarget("5 7 zero")).toEqual({ start: 5, length: 7, type: "zero", parameters: "" })
})

test.each(["", "0 8", "-1 8 zero", "0 8 a_name_that_is_too_long", "0 1e3 zero", "0 8 zero\n0 8 zero"])(
  "%p is none",
  (line) => {
    expect(() => parseTarget(line)).toThrow("no line of a device mapper's table")
  },
)
