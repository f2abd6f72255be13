import { afterEach, beforeEach, expect, test } from "bun:test"
import { setNeighbour } from "../../src/base/linux/routes.ts"
import { type Request, type Route, withRoute } from "../../src/base/linux/rtnetlink.ts"
import { bytesOf, parseSubnet, type Subnet } from "../../src/base/terms/address.ts"
import { type Port, parsePort } from "../../src/base/terms/ports.ts"
import { ensureBridge } from "../../src/host/network/bridge.ts"
import { linkName, macOf } from "../../src/host/network/names.ts"
import { applyRules } from "../../src/host/network/nft.ts"
import { findFaults, restore } from "../../src/host/network/repair.ts"
import { planRules } from "../../src/host/network/rules.ts"
import { makeTap } from "../../src/host/network/tap.ts"
import type { Lease } from "../../src/store/state/leases.ts"
import { beHost, expectNoNetwork, must, sh } from "./support/wire.ts"

// The networks of many VMs at once, without their VMs: what one of them has keeps the others from nothing.

const OWNER = "/var/lib/banger"
const isUp = () => true
beforeEach(beHost)
afterEach(() => {
  const links = must("ip", "-o", "link").match(/\b(?:bgr|lan)[^:@ ]*(?=[:@])/g) ?? []
  for (const link of links) sh("ip", "link", "delete", link)
  sh("nft", "flush", "ruleset")
  expectNoNetwork()
})

function leaseOf(at: number, more: Partial<Lease> = {}): Lease {
  const vm = `vm-${String(at).padStart(8, "0")}`
  const bridge = more.bridge ?? "bgr0"
  const subnet = parseSubnet(`10.21${3 + Number(bridge.slice(3))}.0.0/16`) as Subnet
  const place = { vm, card: "eth0", bridge, subnet, number: at + 2, mac: macOf(vm), link: linkName(vm) }
  return { ...place, ports: [], nat: true, isolate: true, ipv6: false, netns: false, ...more }
}

/** Makes the networks of these leases, as starts of their VMs do. */
function make(leases: readonly Lease[]): void {
  withRoute((route) => {
    for (const { bridge: name, subnet, link, vm, mac, number } of leases) {
      const { index: bridge, mtu } = ensureBridge(route, { name, subnet, ipv6: false, owner: OWNER, mtu: undefined })
      const user = { uid: 0, gid: 0 }
      makeTap(route, {
        name: link,
        vm,
        owner: OWNER,
        user,
        bridge,
        isolated: true,
        onlyMac: mac,
        mtu,
        guest: undefined,
      })
      setNeighbour(route, bridge, { address: bytesOf(subnet.base + number), mac })
    }
    applyRules(planRules(OWNER, leases))
  })
}

const faults = (leases: readonly Lease[]) =>
  withRoute((route) => findFaults(route, { owner: OWNER, leases, isUp })).map(({ vm, what }) => `${vm}: ${what}`)
const putBack = (leases: readonly Lease[]) => withRoute((route) => restore(route, { owner: OWNER, leases, isUp }))

/** The requests that are made of the kernel. */
function requests(work: (route: Route) => unknown): readonly Request[] {
  const made: Request[] = []
  withRoute(({ request }) =>
    work({
      request(asked) {
        made.push(asked)
        return request(asked)
      },
    }),
  )
  return made
}

test("a hundred VMs are looked at, and put back where all is as it should be, with no more requests than two", () => {
  const leases = Array.from({ length: 100 }, (_, at) => leaseOf(at))
  make(leases)
  const counted = (some: readonly Lease[]) => ({
    look: requests((route) => findFaults(route, { owner: OWNER, leases: some, isUp })).length,
    restore: requests((route) => restore(route, { owner: OWNER, leases: some, isUp })).length,
  })
  const two = counted(leases.slice(0, 2))
  expect(counted(leases)).toEqual(two)
  for (const { link } of leases) must("ip", "link", "delete", link)
  expect(requests((route) => findFaults(route, { owner: OWNER, leases, isUp }))).toHaveLength(two.look)
  expect(faults(leases)).toHaveLength(100)
})

test.each([
  ["the rules of the bridge's table", "nft flush table bridge banger"],
  ["the rules of the other one", "nft flush table inet banger"],
  ["a chain", "nft flush chain bridge banger guard && nft delete chain bridge banger guard"],
  [
    "the rule of a port",
    "nft delete rule inet banger inward handle $(nft -a list chain inet banger inward | sed -n 's/.*dnat.*handle //p')",
  ],
  [
    "the last rule of a chain",
    "nft delete rule bridge banger guard handle $(nft -a list chain bridge banger guard | sed -n 's/^\\t\\tdrop # handle //p')",
  ],
])("when somebody takes away %s, it is told of and put back", (_, change) => {
  const leases = [leaseOf(0, { ports: [parsePort("8080:80") as Port] }), leaseOf(1)]
  make(leases)
  withRoute((route) => restore(route, { owner: OWNER, leases, isUp }))
  expect(faults(leases)).toEqual([])
  must("sh", "-c", change)
  const told = faults(leases)
  expect(told).toEqual(leases.map(({ vm }) => `${vm}: some of the rules of this banger's networks are gone`))
  putBack(leases)
  expect(faults(leases)).toEqual([])
})

test("what cannot be put back of one network keeps no other one, nor any rule, from it", () => {
  const leases = [leaseOf(0), leaseOf(1, { bridge: "bgr1" })]
  const [first, second] = leases.map(({ link }) => link) as [string, string]
  make(leases)
  must("ip", "address", "flush", "dev", "bgr0")
  must("ip", "address", "add", "10.99.0.1/16", "dev", "bgr0")
  must("ip", "link", "set", second, "nomaster")
  must("nft", "flush", "ruleset")
  expect(() => putBack(leases)).toThrow("the bridge bgr0 has the address 10.99.0.1/16, not 10.213.0.1/16")
  expect(faults(leases)).toEqual(["vm-00000000: the bridge bgr0 has lost its address"])
  expect(must("ip", "-d", "link", "show", second)).toContain("isolated on")
  must("ip", "address", "flush", "dev", "bgr0")
  // Another one has the name of a guest's port by now: that port stays as it is, and up.
  must("ip", "link", "set", first, "down")
  must("ip", "link", "set", first, "name", "lan7", "up")
  must("ip", "link", "add", first, "type", "bridge")
  must("ip", "link", "set", first, "alias", "mine")
  expect(() => putBack(leases)).toThrow(`the interface lan7 cannot be named ${first} again`)
  expect(faults(leases)).toEqual([`vm-00000000: its interface ${first} is called lan7`])
  expect(must("ip", "link", "show", first)).toContain("alias mine")
  must("ip", "link", "delete", first)
  putBack(leases)
  expect(faults(leases)).toEqual([])
})

test.each(["", "mine", "banger tap vm-00000000 /another/state", "banger tap vm-00000001 /var/lib/banger"])(
  "an interface of another's that has the name of a tap that is gone is left alone: alias %j",
  (alias) => {
    const leases = [leaseOf(0)]
    make(leases)
    const link = leases[0]?.link ?? ""
    must("ip", "link", "delete", link)
    must("ip", "link", "add", link, "type", "veth", "peer", "name", "lan9")
    must("ip", "link", "set", link, "alias", alias)
    const before = must("ip", "-d", "link", "show", link)
    expect(faults(leases)).toEqual([`vm-00000000: its interface ${link} is gone`])
    putBack(leases)
    expect(must("ip", "-d", "link", "show", link)).toBe(before)
  },
)

test("a port that has lost its alias is known by its group", () => {
  const leases = [leaseOf(0)]
  make(leases)
  const link = leases[0]?.link ?? ""
  must("ip", "link", "set", link, "alias", "", "nomaster")
  expect(faults(leases)).toEqual([`vm-00000000: its interface ${link} is no port of bgr0`])
  putBack(leases)
  expect(faults(leases)).toEqual([])
})

test("a port that was renamed is taken down before it gets its name again: kernels before 6.2 ask for that", () => {
  const leases = [leaseOf(0)]
  make(leases)
  const link = leases[0]?.link ?? ""
  must("ip", "link", "set", link, "down")
  must("ip", "link", "set", link, "name", "lan8", "up")
  const changes = requests((route) => restore(route, { owner: OWNER, leases, isUp }))
    .filter(({ type, subject }) => type === "SETLINK" && subject === "lan8")
    .map(({ body }) => ({ down: new DataView(body.buffer).getUint32(12, true) === 1, attributes: body.length > 16 }))
  expect(changes.slice(0, 2)).toEqual([
    { down: true, attributes: false },
    { down: false, attributes: true },
  ])
  expect(must("ip", "link", "show", link)).toContain("UP")
})
