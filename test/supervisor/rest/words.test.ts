import { expect, test } from "bun:test"
import { packAnnounced, packRest, unpackRest } from "../../../src/supervisor/rest/words.ts"
import { LEASE } from "../../dhcpQuestion.ts"

const rest = {
  ...{ id: "web-1", name: "web", lock: 3, vmm: 4, dir: 5, events: 6, until: 12.5, database: [7, 8] },
  ...{ logs: [{ fd: 9, limitBytes: 100 }], restarts: { count: 2, since: 3 }, announced: undefined },
  dhcp: { fd: 10, lease: LEASE },
}

test("the words of a rest say all of it, and those of another version nothing", () => {
  expect(unpackRest(packRest(rest))).toEqual(rest)
  expect(unpackRest([...packRest(rest), "later=1"])).toEqual(rest)
  expect(unpackRest(["web-1", "web", "lock=3"])).toBeUndefined()
  for (const dhcp of [undefined, { fd: 10, lease: { ...LEASE, dns: [], mtu: 1400 } }])
    expect(unpackRest(packRest({ ...rest, dhcp }))).toEqual({ ...rest, dhcp })
})

test("what QEMU has told before the rest goes to another program is known to that as well", () => {
  const words = [...packRest(rest), ...packAnnounced("guest-reset")]
  expect(unpackRest(words)).toEqual({ ...rest, announced: "guest-reset" })
  expect(unpackRest([...words, ...packAnnounced(undefined)])?.announced).toBe("guest-reset")
})
