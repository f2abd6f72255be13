import { expect, test } from "bun:test"
import type { FirecrackerSettings as Declared } from "banger"
import type * as v from "valibot"
import { parseSpec } from "../../../src/inputs/plugin/definition.ts"
import type { firecrackerSpec } from "../../../src/inputs/schema/firecracker.ts"

/** Whether two types are one: the same keys, the same of them optional, the same values all the way down. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

test("banger.d.ts declares exactly the settings that the schema takes", () => {
  const same: Same<Flat<Declared>, Flat<v.InferInput<typeof firecrackerSpec>>> = true
  // @ts-expect-error: one key less is another type, so the line above can fail.
  const less: Same<Flat<Omit<Declared, "vsock">>, Flat<v.InferInput<typeof firecrackerSpec>>> = true
  expect([same, less]).toEqual([true, true])
})

/** A type without the names that its parts have. */
type Flat<T> = T extends object ? { [K in keyof T]: Flat<T[K]> } : T

test.each([
  [{ drives: { a: { io_engine: "sync" } } }, 'firecracker.drives.a.io_engine is "sync"; allowed: "Sync" or "Async"'],
  [{ machine: { huge_pages: "1G" } }, 'firecracker.machine.huge_pages is "1G"; allowed: "None" or "2M"'],
  [{ machine: { cpu_template: "T3" } }, 'firecracker.machine.cpu_template is "T3"; allowed: "None", "C3", "T2"'],
  [{ pmem: [{ id: "a-b", path: "/p" }] }, 'id is "a-b"; allowed: letters, digits and _'],
  [{ pmem: [{ id: "a" }] }, "path is missing"],
  [
    {
      pmem: [
        { id: "a", path: "/p" },
        { id: "a", path: "/q" },
      ],
    },
    "a different id for each device",
  ],
  [{ vhost_user: [{ id: "a", socket: "" }] }, "a path, not an empty string"],
  [{ drives: { a: { partuuid: "x y" } } }, "partuuid is"],
  [{ memory_hotplug: { total_size_mib: 64 } }, "total_size_mib is 64; allowed: a whole number from 128 to 524288"],
  [{ memory_hotplug: { total_size_mib: 524_289 } }, "allowed: a whole number from 128 to 524288"],
  [
    { memory_hotplug: { total_size_mib: 128, block_size_mib: 1 } },
    "block_size_mib is 1; allowed: a whole number from 2",
  ],
  [{ memory_hotplug: { total_size_mib: 128, slot_size_mib: 127 } }, "slot_size_mib is 127; allowed"],
  [{ vsock: { guest_cid: 2 } }, "firecracker.vsock.guest_cid is 2; allowed: a whole number from 3 to 4294967294"],
])("the settings %p are refused with the plugin: %s", (firecracker, words) => {
  expect(() => parseSpec({ kernel: "/k", firecracker }, { path: "", text: "" })).toThrow(words)
})
