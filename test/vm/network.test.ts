import { expect, test } from "bun:test"
import type { Link } from "../../src/base/linux/links.ts"
import { hostPath } from "../../src/base/terms/path.ts"
import { firecracker } from "../../src/host/firecracker/firecracker.ts"
import { MARK } from "../../src/host/network/names.ts"
import { qemu } from "../../src/host/qemu/qemu.ts"
import type { Boot, Vmm } from "../../src/host/vmm/vmm.ts"
import { parseSpec } from "../../src/inputs/plugin/definition.ts"
import type { NetworkSpec } from "../../src/inputs/schema/network.ts"
import type { Lease } from "../../src/store/state/leases.ts"
import { vmLayout } from "../../src/store/state/places.ts"
import { plannedNetwork, toldMtu, toldNameServers, withNetwork } from "../../src/supervisor/boot/network.ts"
import { requireFitting, requireNetwork } from "../../src/supervisor/boot/requireNetwork.ts"
import { addedCard, parse } from "../../src/supervisor/changes/words.ts"
import { judgeLink } from "../../src/upkeep/leftovers/networkLeftovers.ts"

const layout = vmLayout({ state: "/var/lib/banger", runtime: "/run/banger" }, "web-abcd1234")
const boot = { bootArgs: "console=ttyS0", network: false } as Boot

function networkSpec(network: unknown): NetworkSpec {
  const parsed = parseSpec({ kernel: "k", network }, { path: "p", text: "" }).network
  if (parsed === false) throw new Error("no network")
  return parsed
}

function booted(written: unknown): Boot {
  const spec = networkSpec(written)
  const network = plannedNetwork("web-abcd1234", spec, layout)
  return withNetwork(boot, { name: "web", spec, network, layout, mtu: spec.mtu, dns: toldNameServers(spec).dns })
}

test("a boot gets the tap, the MAC and the address of its lease", () => {
  const { network, bootArgs } = booted({ dns: [], address: "10.213.1.7", mac: "02:00:00:00:00:09" })
  expect(network).toEqual({ tap: "bgrabcd1234", mac: "02:00:00:00:00:09", ports: [], netns: undefined, mtu: undefined })
  expect(bootArgs).toBe("console=ttyS0 ip=10.213.1.7::10.213.0.1:255.255.0.0:web:eth0:off")
})

test("a guest is told of an MTU that is not every card's, where its VMM can tell it", () => {
  expect(booted({ dns: [], mtu: 1400 }).network).toMatchObject({ mtu: 1400 })
  const told = (mtu: number | undefined, vmm: Vmm, version: readonly [number, number]) =>
    toldMtu(mtu, { vmm, program: { path: hostPath("/vmm"), version } })
  for (const mtu of [undefined, 1500]) expect(told(mtu, qemu, [7, 2])).toEqual({ mtu: undefined, warning: undefined })
  expect(told(1400, qemu, [7, 2])).toEqual({ mtu: 1400, warning: undefined })
  expect(told(9000, firecracker, [1, 16])).toEqual({ mtu: 9000, warning: undefined })
  expect(told(9000, firecracker, [1, 15])).toEqual({
    mtu: undefined,
    warning: expect.stringContaining("ip link set eth0 mtu 9000"),
  })
  // TCP fits by the rules, and the host tells of the rest.
  expect(told(1400, firecracker, [1, 15])).toEqual({ mtu: undefined, warning: undefined })
})

test.each([
  [{ mtu: 67 }, "network.mtu is 67; allowed: what a frame may carry, in bytes"],
  [{ mtu: 65_536 }, "from 68 to 65535"],
  [{ mtu: 1400.5 }, "a whole number"],
  [{ mtu: 1279, ipv6: true }, "network.mtu is 1279; allowed: 1280 or more with ipv6: true"],
  [{ ports: ["224.0.0.1:80:80"] }, 'network.ports[0] is "224.0.0.1:80:80"; allowed'],
  [{ ports: ["255.255.255.255:80:80"] }, 'network.ports[0] is "255.255.255.255:80:80"; allowed'],
  [{ ports: ["0.0.0.7:80:80"] }, 'network.ports[0] is "0.0.0.7:80:80"; allowed'],
  [{ dns: ["127.0.0.53"] }, "allowed: an IPv4 address that a guest can send to"],
  [{ dns: ["192.0.2.1", "0.0.0.0"] }, "network.dns[1]"],
  [{ dns: ["239.1.1.1"] }, "an IPv4 address that a guest can send to"],
  [{ mode: "user", mtu: 1400 }, 'with mode "user" only mac and ports'],
])("%p is refused: %s", (network, words) => expect(() => networkSpec(network)).toThrow(words))

test("a namespace, IPv6 and another bridge change what they are about", () => {
  const { network, bootArgs } = booted({ dns: [], bridge: "bgr3", netns: true, ipv6: true })
  expect(network).toMatchObject({ netns: "/run/banger/web-abcd1234/netns" })
  expect(bootArgs).toContain(" ip=10.216.0.2::10.216.0.1:")
  expect(bootArgs).toMatch(/ banger\.ip6=(fd\S+):1::2\/64,\1:1::1$/)
})

test("on a bridge of the user's a guest is not told an address; a plan says what is made, and what is there", () => {
  const { network, bootArgs } = booted({ bridge: "br0", address: "192.0.2.7", mac: "02:00:00:00:00:09" })
  expect(network).toEqual({ tap: "bgrabcd1234", mac: "02:00:00:00:00:09", ports: [], netns: undefined, mtu: undefined })
  expect(bootArgs).toBe("console=ttyS0")
  const planned = (network: unknown) => plannedNetwork("web-abcd1234", networkSpec(network), layout)
  expect(planned({ bridge: "br0" })).toMatchObject({ address: undefined, prefix: undefined, gateway: undefined })
  expect(planned({ bridge: "br0", address: "192.0.2.7" })).toMatchObject({
    address: "192.0.2.7",
    bridge: "br0",
    ports: [],
  })
})

test.each([
  ["br0", true],
  ["lan.20", true],
  ["my_bridge", true],
  ["bgr10000", true],
  ["0123456789abcde", true],
  ["0123456789abcdef", false],
  ["", false],
  [".", false],
  ["..", false],
  ["a/b", false],
  ["br0:1", false],
  ["br%d", false],
  ["a b", false],
  ["br\u00e9", false],
  ["br0\n", false],
])("%p as a name of a bridge of the user's: %p", (bridge, taken) => {
  if (taken) expect(networkSpec({ bridge })).toMatchObject({ bridge, subnet: undefined, nat: false, isolate: false })
  else expect(() => networkSpec({ bridge })).toThrow("or the name of a bridge of yours")
})

test.each([
  [{ bridge: "br0", subnet: "10.9.0.0/24" }, "no subnet on br0, which is a bridge of yours"],
  [{ bridge: "br0", nat: false }, "no nat on br0"],
  [{ bridge: "br0", ports: ["80:80"] }, "no ports on br0"],
  [{ bridge: "br0", forward: true }, "no forward on br0"],
  [{ bridge: "br0", ipv6: true }, "no ipv6 on br0"],
  [{ bridge: "br0", netns: true }, "no netns on br0"],
  [{ bridge: "br0", dns: ["1.1.1.1"] }, "no dns on br0"],
  [{ bridge: "br0", address: "127.0.0.1" }, "an IPv4 address that a host can have"],
  [{ bridge: "br0", vlan: 0 }, "network.vlan is 0; allowed: the number of a VLAN"],
  [{ bridge: "br0", vlan: 4095 }, "a whole number from 1 to 4094"],
  [{ vlan: 20 }, "network.vlan is 20; allowed: no vlan on bgr0, which is banger's own"],
  [{ mode: "user", vlan: 20 }, 'with mode "user" only mac and ports'],
])("%p is refused: %s", (network, words) => expect(() => networkSpec(network)).toThrow(words))

test("a card on a bridge of the user's takes the same words, and what is refused is named", () => {
  const card = { id: "lan", bridge: "br0", vlan: 20, isolate: true, address: "192.0.2.7" }
  expect(parse(addedCard, card).network).toMatchObject({
    bridge: "br0",
    vlan: 20,
    isolate: true,
    nat: false,
    subnet: undefined,
  })
  expect(() => parse(addedCard, { id: "lan", bridge: "br0", ports: ["80:80"] })).toThrow("ports: no ports on br0")
})

test("the user mode's ports are the VMM's own, and its guest is told the address that QEMU gives", () => {
  const { network, bootArgs } = booted({ mode: "user", ports: ["8080:80"] })
  expect(network).toMatchObject({ tap: undefined, ports: [{ host: 8080, guest: 80 }] })
  expect(bootArgs).toBe("console=ttyS0 ip=10.0.2.15::10.0.2.2:255.255.255.0:web:eth0:off:10.0.2.3")
})

test("what a VMM or a user cannot have is refused before anything is made", () => {
  const spec = (network: unknown) => ({ network: networkSpec(network) })
  expect(() => requireFitting(spec("user"), "firecracker", false)).toThrow("no user-mode network")
  expect(() => requireFitting(spec(true), "firecracker", true)).toThrow(
    "the snapshot does not say which address its guest has",
  )
  requireFitting(spec({ address: "10.213.0.9", mac: "02:00:00:00:00:09" }), "firecracker", true)
  requireFitting(spec(true), "qemu", false)
  const bridged = (more: object) => () => requireFitting(spec({ bridge: "br0", ...more }), "firecracker", true)
  expect(bridged({})).toThrow("network: the snapshot")
  bridged({ mac: "02:00:00:00:00:09" })()
  expect(() => requireNetwork(spec(true), false)).toThrow("only root")
  requireNetwork(spec("user"), false)
  requireNetwork({ network: false }, false)
})

const OWNER = "/var/lib/banger"
const lease = { vm: "web-abcd1234", bridge: "bgr0", link: "bgrabcd1234" } as Lease

function link(more: Partial<Link>): Link {
  const alias = `banger tap web-abcd1234 ${OWNER}`
  return {
    index: 9,
    name: "bgrnobodyatall",
    kind: "tun",
    alias,
    group: 0,
    master: undefined,
    up: true,
    carrier: false,
    mac: "",
    mtu: 1500,
    holder: undefined,
    ...more,
  }
}

test.each<[string, Partial<Link>, string | undefined]>([
  ["a tap of no VM", {}, "dead"],
  ["a tap of a VM", { name: "bgrabcd1234" }, undefined],
  ["a tap that somebody holds whom we cannot see", { carrier: true }, "unknown"],
  ["another banger's tap", { alias: "banger tap web-abcd1234 /elsewhere" }, "kept"],
  ["a tap without a mark", { alias: undefined }, undefined],
  ["a tap with a mark and another name", { name: "tap0" }, "dead"],
  ["a bridge of no VM", { kind: "bridge", name: "bgr7", alias: `banger bridge - ${OWNER}` }, "dead"],
  ["a bridge of a VM", { kind: "bridge", name: "bgr0", alias: `banger bridge - ${OWNER}` }, undefined],
  ["a bridge made half", { kind: "bridge", name: "bgr7", alias: undefined, group: MARK }, "dead"],
  ["hardware that is called so", { kind: undefined, name: "bgr7" }, undefined],
])("%s: %p is %p", (_, more, verdict) => {
  expect(judgeLink(link(more), { owner: OWNER, leases: [lease], ports: [] })?.is).toBe(verdict as "dead")
})

test("a bridge with somebody's port is kept", () => {
  const bridge = link({ kind: "bridge", name: "bgr7", alias: `banger bridge - ${OWNER}` })
  expect(judgeLink(bridge, { owner: OWNER, leases: [], ports: [link({ name: "eth1" })] })).toMatchObject({
    is: "kept",
    why: "it has the port eth1",
  })
})
