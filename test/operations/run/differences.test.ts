import { expect, test } from "bun:test"
import { differences } from "../../../src/operations/run/differences.ts"

test("what differs is told by the plugin's own words, part by part", () => {
  const runs = { memory: "256M", network: { mode: "tap", ports: [1] }, vcpus: 1 }
  expect(differences(runs, { ...runs, network: { ports: [1], mode: "tap" } })).toEqual([])
  expect(differences(runs, { memory: "512M", network: { mode: "tap", ports: [2] }, name: "a" })).toEqual([
    'memory is "256M", not "512M"',
    "network.ports is [1], not [2]",
    "vcpus is 1, not left out",
    'name is left out, not "a"',
  ])
  const many = Object.fromEntries(Array.from({ length: 9 }, (_, index) => [`k${index}`, index]))
  expect(differences(many, {}).at(-1)).toBe("and 4 more")
})

test("of long values it is told where they differ", () => {
  const words = (last: string) => ({ bootArgs: `${"quiet ".repeat(50)}${last} ${"loud ".repeat(50)}` })
  const [told = ""] = differences(words("one"), words("two"))
  expect(told).toContain("quiet quiet one loud")
  expect(told).toContain("quiet quiet two loud")
  expect(told.length).toBeLessThan(200)
})

test("metadata of a guest is not told; no word breaks a line or speaks to a terminal", () => {
  const of = (data: unknown) => ({ firecracker: { mmds: { data, version: "V2" } } })
  expect(differences(of({ key: "secret" }), of({ key: "other" }))).toEqual(["firecracker.mmds.data is another"])
  expect(differences(of({ key: "secret" }), {}).join()).not.toContain("secret")
  const [odd = ""] = differences({ "a\n\x1b[2J": "\x9b2J\u202e" }, {})
  expect(odd).toBe('a\\n\\x1b[2J is "\\x9b2J\\u{202e}", not left out')
})
