import { expect, test } from "bun:test"
import { attribute, joined, nested } from "../../../src/base/linux/netlink.ts"
import { parseKeys } from "../../../src/base/linux/nftables.ts"
import { plannedCounts } from "../../../src/host/firewall/wholeRules.ts"

test("the rules of a script are counted by chain, whatever else it makes", () => {
  const script = [
    "add table inet banger",
    "delete table inet banger",
    "table inet banger {",
    "set open {",
    "type ipv4_addr;",
    "elements = { 10.213.0.2 };",
    "}",
    "chain forward {",
    "type filter hook forward priority 0; policy accept;",
    'iifname { "bgr0" } drop',
    "oifname x drop",
    "}",
    "chain empty {",
    "type nat hook output priority -100; policy accept;",
    "}",
    "}",
    "table bridge banger {",
    "chain forward {",
    "type filter hook forward priority -200; policy accept;",
    "drop",
    "}",
    "}",
    "",
  ].join("\n")
  expect(plannedCounts(script)).toEqual([
    { family: "inet", chain: "forward", count: 2 },
    { family: "inet", chain: "empty", count: 0 },
    { family: "bridge", chain: "forward", count: 1 },
  ])
})

test("the keys of a set's elements are read, and an element without one is passed over", () => {
  const key = (...bytes: readonly number[]) => nested(1, nested(1, attribute(1, Uint8Array.from(bytes))))
  const header = Uint8Array.of(7, 0, 0, 0)
  const body = joined(
    header,
    nested(3, key(1, 2, 3, 4), nested(1, attribute(3, Uint8Array.of(0, 0, 0, 1))), key(5, 6, 7, 8)),
  )
  expect(parseKeys({ body }).map((bytes) => [...bytes])).toEqual([
    [1, 2, 3, 4],
    [5, 6, 7, 8],
  ])
  expect(parseKeys({ body: header })).toEqual([])
  expect(() => parseKeys({ body: joined(header, Uint8Array.of(40, 0, 3, 0)) })).toThrow(RangeError)
})
