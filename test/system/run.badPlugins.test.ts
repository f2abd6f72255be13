import { expect, test } from "bun:test"
import { existsSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger } from "./support/banger.ts"
import { eachInItsPlace } from "./support/place.ts"

const place = eachInItsPlace()

const plugin = (fields: string) =>
  `import { definePlugin } from "banger"\nexport default definePlugin({\n  kernel: "kernel",\n  ${fields}\n})\n`

/** What is wrong, the plugin's text, and what the message must say. */
const BAD: readonly (readonly [string, string, string])[] = [
  ["a syntax error", "export default {\n", "plugin.ts:1:17: Expected identifier but found end of file"],
  ["no default export", "export const x = 1\n", "plugin.ts has no default export"],
  ["a number as plugin", "export default 7\n", "the default export is 7, not a plugin"],
  ["an error at the top level", 'throw new Error("no luck")\n', "failed while loading: no luck"],
  ["a missing import", 'import x from "./missing.ts"\nexport default x\n', "plugin.ts:1:16: there is no ./missing.ts"],
  ["no kernel", "export default { vcpus: 1 }\n", "plugin.ts: kernel is missing"],
  ["a kernel that is no text", "export default { kernel: 1 }\n", "plugin.ts:1: kernel is 1; allowed: a path"],
  ["a kernel that is not there", 'export default { kernel: "none" }\n', "kernel: there is no file"],
  ["a directory as kernel", 'export default { kernel: "/etc" }\n', "kernel: /etc is a directory, not a file"],
  ["an empty kernel", 'export default { kernel: "empty" }\n', "is empty"],
  ["an unknown key", plugin('memmory: "1G",'), "plugin.ts:4: unknown key memmory; did you mean memory?"],
  [
    "an unknown nested key",
    plugin('timeouts: { stopp: "1s" },'),
    "plugin.ts:4: unknown key timeouts.stopp; did you mean stop?",
  ],
  ["memory in words", plugin('memory: "lots",'), 'plugin.ts:4: memory is "lots"; allowed: a size in whole MiB'],
  ["memory without unit", plugin("memory: 256,"), "plugin.ts:4: memory is 256; allowed: a size"],
  ["too little memory", plugin('memory: "1M",'), 'memory is "1M"; allowed:'],
  ["no vcpus", plugin("vcpus: 0,"), "plugin.ts:4: vcpus is 0; allowed: a whole number from 1 to 32"],
  ["half a vcpu", plugin("vcpus: 1.5,"), "vcpus is 1.5; allowed"],
  [
    "65 drives",
    plugin('drives: Array.from({ length: 65 }, () => ({ path: "kernel" })),'),
    "allowed: at most 16 drives",
  ],
  [
    "two root drives",
    plugin('drives: [{ path: "kernel", root: true }, { path: "kernel", root: true }],'),
    "one root drive at most",
  ],
  [
    "two drives with one id",
    plugin('drives: [{ path: "kernel", id: "a" }, { path: "kernel", id: "a" }],'),
    "a different id for each drive",
  ],
  ["a drive without path", plugin("drives: [{}],"), "drives[0].path is missing"],
  [
    "a misspelt drive",
    plugin('drives: [{ path: "kernel", readOnly: true }],'),
    "unknown key drives[0].readOnly; did you mean readonly?",
  ],
  ["drives that are no list", plugin('drives: "kernel",'), 'drives is "kernel"; allowed: a list of drives'],
  ["a name with a slash", plugin('name: "a/b",'), 'plugin.ts:4: name is "a/b"; allowed: a DNS label'],
  ["an empty name", plugin('name: "",'), 'name is ""; allowed'],
  ["a name of 64 letters", plugin(`name: "${"a".repeat(64)}",`), "allowed: a DNS label"],
  ["a command line of two lines", plugin('bootArgs: "a\\nb",'), "a kernel command line without newlines"],
  ["a hook that is no function", plugin('preBoot: "now",'), 'plugin.ts:4: preBoot is "now"; allowed: a function'],
  ["a time without unit", plugin("timeouts: { stop: 30 },"), "timeouts.stop is 30; allowed: a time with its unit"],
  [
    "a network there is not",
    plugin('network: "tap",'),
    'network is "tap"; allowed: true, false, "user" or { bridge, subnet, ports, … }',
  ],
  ["a VMM there is not", plugin('vmm: "bhyve",'), 'vmm is "bhyve"; allowed: "auto", "firecracker" or "qemu"'],
  [
    "an unknown change by configure",
    plugin("configure: () => ({ vcpu: 2 }),"),
    "unknown key vcpu; did you mean vcpus?",
  ],
  ["a configure that returns a number", plugin("configure: () => 7,"), "configure returned 7"],
]

test.each(BAD)("%s is one clear error, and nothing is made", async (_, text, message) => {
  writeFileSync(join(place.dir, "kernel"), "x")
  writeFileSync(join(place.dir, "empty"), "")
  writeFileSync(join(place.dir, "plugin.ts"), text)
  const { stdout, stderr, exit } = await banger(place, ["run", "plugin.ts"])
  expect(stderr).toContain(message)
  expect(stderr.match(/ ERROR /g)).toHaveLength(1)
  expect(stderr).not.toContain("    at ")
  expect(stdout).toBe("")
  expect(exit).toBe(2)
  expect(existsSync(place.state)).toBe(false)
})
