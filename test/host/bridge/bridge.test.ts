import { expect, test } from "bun:test"
import { parseVlans, readPort, setPortVlan } from "../../../src/base/linux/bridges.ts"
import { linkHeader } from "../../../src/base/linux/links.ts"
import {
  attribute,
  joined,
  listAttributes,
  type Message,
  nested,
  parseAttributes,
  textAttribute,
  u8Attribute,
  u32Attribute,
} from "../../../src/base/linux/netlink.ts"
import type { Request, Route } from "../../../src/base/linux/rtnetlink.ts"
import type { Failure } from "../../../src/base/terms/failure.ts"
import { planPortRules, rulesCover } from "../../../src/host/bridge/portRules.ts"
import { requireUsersBridge } from "../../../src/host/bridge/usersBridge.ts"
import type { BridgeLease } from "../../../src/store/state/bridgeLeases.ts"

const OWNER = "/var/lib/banger"
const LEASE: BridgeLease = {
  ...{ vm: "vm-aaaaaaaa", card: "eth0", bridge: "br0", address: undefined, mac: "02:00:00:00:00:01" },
  ...{ link: "bgraaaaaaaa", isolate: false, index: 7 },
}
const other = { ...LEASE, vm: "vm-bbbbbbbb", mac: "02:00:00:00:00:02", link: "bgrbbbbbbbb", address: "192.0.2.7" }

import { portGroup } from "../../../src/host/network/names.ts"

test("rules are of this owner's own ports, in a table that no older banger replaces; without a lease they only go", () => {
  const gone = "add table bridge banger_ports\ndelete table bridge banger_ports\n"
  expect(planPortRules(OWNER, [])).toBe(gone)
  expect(planPortRules("/srv/a", [])).toMatch(/^add table bridge banger_[0-9a-f]{8}_ports\n/)
  const rules = planPortRules(OWNER, [LEASE, other])
  expect(rules).toStartWith(gone)
  expect(rules).toContain('set ports {\ntype ifname;\nelements = { "bgraaaaaaaa", "bgrbbbbbbbb" };\n}')
  expect(rules).toContain('set bound {\ntype ifname;\nelements = { "bgrbbbbbbbb" };\n}')
  expect(rules).toContain('elements = { "bgrbbbbbbbb" . 192.0.2.7 };')
  expect(rules).not.toContain("br0")
  // Whatever is of another port is let pass before anything is judged; without an address nothing but the MAC is.
  // A port of ours that somebody has renamed lets nothing through.
  const [renamed, first, ...rest] = rules.split("policy accept;\n")[1]?.split("\n") ?? []
  expect(renamed).toBe(`meta iifgroup ${portGroup(OWNER, "users")} iifname != @ports drop`)
  expect(first).toBe("iifname != @ports accept")
  expect(rest.indexOf("iifname != @bound accept")).toBeLessThan(rest.findIndex((rule) => rule.includes("@own")))
})

function message(body: Uint8Array): Message {
  return { type: 16, flags: 0, sequence: 1, body }
}

/** A kernel with one link, as RTM_GETLINK tells it. */
function kernelWith(kind: string | undefined, { up = true, filters = 0 } = {}): Route {
  const info = kind === undefined ? [] : [nested(18, textAttribute(1, kind), nested(2, u8Attribute(7, filters)))]
  const body = joined(linkHeader({ index: 7, up }), textAttribute(3, "br0"), u32Attribute(4, 9000), ...info)
  return { request: () => [message(body)] }
}

test("a bridge of the user's is found with its MTU", () => {
  expect(requireUsersBridge(kernelWith("bridge"), { bridge: "br0" })).toMatchObject({ index: 7, mtu: 9000 })
  expect(requireUsersBridge(kernelWith("bridge", { filters: 1 }), { bridge: "br0", vlan: 20 })).toMatchObject({
    index: 7,
  })
})

test.each<[string, Route, string]>([
  ["none", { request: () => [] }, "network.bridge: there is no interface br0 in this network namespace"],
  ["Open vSwitch's", kernelWith("openvswitch"), "br0 is a bridge of Open vSwitch, which is not one of Linux"],
  ["hardware", kernelWith(undefined), "br0 is not a bridge (a device)"],
  ["a bond", kernelWith("bond"), "br0 is not a bridge (bond)"],
  ["one that is down", kernelWith("bridge", { up: false }), "the bridge br0 is down"],
  ["one that filters no VLANs", kernelWith("bridge"), "network.vlan: the bridge br0 does not filter VLANs"],
])("%s is no bridge for a VLAN: %p %s", (_, route, words) => {
  expect(() => requireUsersBridge(route, { bridge: "br0", vlan: 20 })).toThrow(words)
})

/** A kernel with a port of these VLANs, and another port; what it is asked to change is kept. */
function portWith(vlans: readonly (readonly [id: number, flags: number])[], asked: Request[]): Route {
  const info = ([id, flags]: readonly [number, number]) =>
    attribute(2, Uint8Array.of(flags & 255, flags >> 8, id & 255, id >> 8))
  const port = (index: number, of: readonly (readonly [number, number])[]) =>
    message(joined(linkHeader({ index, family: 7 }), nested(26, ...of.map(info))))
  return {
    request(request) {
      if (request.type === "GETLINK") return [port(3, [[1, 6]]), port(9, vlans)]
      asked.push(request)
      return []
    },
  }
}

test("what is to be typed is quoted where a shell would not take the name as it stands", () => {
  const route: Route = { request: () => [] }
  const hintOf = (bridge: string) => {
    try {
      requireUsersBridge(route, { bridge })
    } catch (error) {
      return (error as Failure).hint
    }
    return undefined
  }
  expect(hintOf("br0")).toContain("ip link add br0 type bridge && ip link set br0 up")
  expect(hintOf("$(reboot)")).toContain("ip link set '$(reboot)' up")
})

test("a port is put into one VLAN, untagged, and taken out of every other one", () => {
  const asked: Request[] = []
  const route = portWith(
    [
      [1, 6],
      [20, 6],
      [4094, 0],
    ],
    asked,
  )
  const port = { index: 9, name: "bgraaaaaaaa" }
  expect(readPort(route, port).vlans).toEqual([
    { id: 1, pvid: true, untagged: true },
    { id: 20, pvid: true, untagged: true },
    { id: 4094, pvid: false, untagged: false },
  ])
  setPortVlan(route, port, 20)
  const said = asked.map(({ type, body }) => {
    const spec = parseAttributes(body.subarray(16)).get(26) ?? new Uint8Array(0)
    const [[kind, value] = []] = listAttributes(spec)
    return [type, new DataView(body.buffer).getInt32(4, true), kind, [...(value ?? [])]]
  })
  expect(said).toEqual([
    ["SETLINK", 9, 2, [6, 0, 20, 0]],
    ["DELLINK", 9, 2, [0, 0, 1, 0]],
    ["DELLINK", 9, 2, [0, 0, 0xfe, 0x0f]],
  ])
})

test("a port in all VLANs is read as well: the kernel tells two that stand for all between them", () => {
  const info = (id: number, flags: number) => new Uint8Array(Uint16Array.of(flags, id).buffer)
  const ids = (...infos: readonly Uint8Array[]) => parseVlans(infos).map(({ id }) => id)
  const all = parseVlans([info(1, 6), info(2, 8), info(4094, 16)])
  expect([all.length, all[0], all[1], all.at(-1)]).toEqual([
    4094,
    { id: 1, pvid: true, untagged: true },
    { id: 2, pvid: false, untagged: false },
    { id: 4094, pvid: false, untagged: false },
  ])
  expect(ids(info(7, 12), info(9, 20), info(20, 0), info(30, 8), info(31, 16))).toEqual([7, 8, 9, 20, 30, 31])
  expect(parseVlans([info(7, 12), info(9, 20)]).every(({ untagged }) => untagged)).toBe(true)
  expect(ids()).toEqual([])
  expect(ids(info(9, 16))).toEqual([9])
})

test("rules count as there when they judge this tap, by this MAC", () => {
  const lease = { link: "bgraaaaaaaa", mac: "02:00:00:00:00:11" }
  const whole = planPortRules("/state", [
    { ...lease, vm: "vm", card: "eth0", bridge: "br0", index: 3, address: undefined, vlan: undefined, isolate: false },
  ])
  expect(rulesCover(whole, lease)).toBe(true)
  expect(rulesCover(whole, { ...lease, link: "bgrbbbbbbbb" })).toBe(false)
  expect(rulesCover(whole, { ...lease, mac: "02:00:00:00:00:12" })).toBe(false)
  expect(rulesCover("table bridge banger_ports {\n\tset macs {\n\t}\n}", lease)).toBe(false)
  expect(rulesCover("", lease)).toBe(false)
})
