import { expect, test } from "bun:test"
import { formatSubnet, parseSubnet, type Subnet } from "../../../src/base/terms/address.ts"
import { type Port, parsePort } from "../../../src/base/terms/ports.ts"
import { macOf } from "../../../src/host/network/names.ts"
import {
  type BridgeLease,
  freeBridgeLease,
  listBridgeLeases,
  takeBridgeLease,
} from "../../../src/store/state/bridgeLeases.ts"
import { openDatabase } from "../../../src/store/state/database.ts"
import { freeLease, type LeaseRequest, listLeases, takeLease } from "../../../src/store/state/leases.ts"
import { failure } from "../../failure.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

const database = () => openDatabase(directory.path)

function request(vm: string, more: Partial<LeaseRequest> = {}): LeaseRequest {
  const subnet = parseSubnet("10.9.0.0/29") as Subnet
  const settings = { ports: [], nat: true, isolate: true, ipv6: false, netns: false }
  return {
    vm,
    card: "eth0",
    bridge: "bgr0",
    subnet,
    number: undefined,
    mac: macOf(vm),
    link: `bgr${vm}`,
    ...settings,
    ...more,
  }
}

test("VMs get the address that is free longest: first those that nobody had, then the one that was given back first", () => {
  const db = database()
  const take = (vm: string) => takeLease(db, request(vm)).number
  const free = (vm: string) => freeLease(db, { vm, card: "eth0" })
  expect(["a", "b", "c"].map(take)).toEqual([2, 3, 4])
  for (const vm of ["b", "a"]) free(vm)
  expect(["d", "e"].map(take)).toEqual([5, 6])
  free("c")
  expect(["f", "g", "h"].map(take)).toEqual([3, 2, 4])
  // Given back twice: it counts from the last time.
  for (const vm of ["f", "g"]) free(vm)
  expect(take("i")).toBe(3)
  free("i")
  expect(["j", "k"].map(take)).toEqual([2, 3])
})

test("of a large network only the addresses that were given back last are held back", () => {
  const db = database()
  const large = { subnet: parseSubnet("10.9.0.0/16") as Subnet }
  const numbers = Array.from({ length: 1030 }, (_, at) => {
    const { number } = takeLease(db, request(`vm${at}`, large))
    freeLease(db, { vm: `vm${at}`, card: "eth0" })
    return number
  })
  expect(numbers.slice(0, 1024)).toEqual(Array.from({ length: 1024 }, (_, at) => at + 2))
  expect(numbers.slice(1024)).toEqual([1026, 2, 3, 4, 5, 6])
  expect(db.query("select count(*) as count from freed_addresses").get()).toEqual({ count: 1024 })
})

test("a VM that has a place gets the same again, and giving back twice is fine", () => {
  const db = database()
  const first = takeLease(db, request("a", { ports: [parsePort("127.0.0.1:8080:80") as Port] }))
  expect(takeLease(db, request("a", { number: 5 }))).toEqual(first)
  expect(listLeases(db)).toEqual([first])
  for (let round = 0; round < 2; round++) freeLease(db, { vm: "a", card: "eth0" })
  expect(listLeases(db)).toEqual([])
})

test.each<[string, Partial<LeaseRequest>, string]>([
  ["its address", { number: 2 }, "the address 10.9.0.2 is in use by the VM a"],
  ["its MAC", { mac: macOf("a"), bridge: "bgr1" }, `the MAC address ${macOf("a")} is in use by the VM a`],
  ["its interface", { link: "bgra", bridge: "bgr1" }, "the interface bgra is in use by the VM a"],
  ["its port", { ports: [parsePort("8080:1") as Port], bridge: "bgr1" }, "the port 8080/tcp is in use by the VM a"],
  [
    "its bridge with another subnet",
    { subnet: parseSubnet("10.8.0.0/24") as Subnet },
    "the bridge bgr0 has the subnet 10.9.0.0/29, not 10.8.0.0/24",
  ],
  ["its bridge with an MTU", { mtu: 9000 }, "the bridge bgr0 of the VM a has the MTU of this host's way out, not 9000"],
])("what one VM has, another does not get: %s", (_, more, words) => {
  const db = database()
  takeLease(db, request("a", { ports: [parsePort("127.0.0.1:8080:80") as Port] }))
  expect(() => takeLease(db, request("b", more))).toThrow(failure("IN_USE", words))
  expect(listLeases(db)).toHaveLength(1)
})

test("VMs of a bridge have one MTU: who names none has the one that is there, who names another is refused", () => {
  const db = database()
  takeLease(db, request("a", { mtu: 9000 }))
  for (const [vm, mtu] of [
    ["b", undefined],
    ["c", 9000],
  ] as const) {
    expect(takeLease(db, request(vm, { mtu })).mtu).toBe(mtu)
    freeLease(db, { vm, card: "eth0" })
  }
  expect(() => takeLease(db, request("d", { mtu: 1400 }))).toThrow(
    failure("IN_USE", "the bridge bgr0 of the VM a has the MTU 9000, not 1400"),
  )
  expect(takeLease(db, request("e", { mtu: 1400, bridge: "bgr1" })).mtu).toBe(1400)
})

test("a VM has a place for each of its cards, which go one by one; what one has is refused to another by its name", () => {
  const db = database()
  takeLease(db, request("a"))
  const lan = request("a", { card: "lan", link: "bgrac1", mac: macOf("a lan") })
  expect(takeLease(db, lan).number).toBe(3)
  expect(() => takeLease(db, request("b", { number: 3 }))).toThrow("in use by the card lan of the VM a")
  freeLease(db, { vm: "a", card: "eth0" })
  expect(listLeases(db).map(({ card }) => card)).toEqual(["lan"])
})

test("the leases of an older banger are of the plugins' own cards", () => {
  const old = database()
  old.exec(`drop table freed_addresses; drop table stops; drop table disk_claims; drop table bridge_leases; drop table leases; create table leases (vm text primary key, bridge text not null, subnet text not null,
    number integer not null, mac text not null unique, link text not null unique, detail text not null,
    unique (bridge, number)) strict; pragma user_version = 6`)
  const { subnet, mac, link } = request("a")
  const detail = JSON.stringify({ ports: [], nat: true, isolate: true, ipv6: false, netns: false })
  old.query("insert into leases values ('a', 'bgr0', ?, 2, ?, ?, ?)").run(formatSubnet(subnet), mac, link, detail)
  const db = database()
  expect(listLeases(db)).toMatchObject([{ vm: "a", card: "eth0", number: 2, mac, link }])
  // A supervisor of the older banger boots its VM again.
  old.query("delete from leases where vm = ?").run("a")
  old
    .query(`insert into leases (vm, bridge, subnet, number, mac, link, detail) values ('b', 'bgr0', ?, 3, ?, ?, ?)`)
    .run(formatSubnet(subnet), mac, link, detail)
  expect(listLeases(db)).toMatchObject([{ vm: "b", card: "eth0", number: 3, mac, link }])
  old.close()
})

const bridged = (vm: string, more: Partial<BridgeLease> = {}): BridgeLease => ({
  ...{
    vm,
    card: "eth0",
    bridge: "br0",
    address: undefined,
    mac: macOf(vm),
    link: `bgr${vm}`,
    isolate: false,
    index: 7,
  },
  ...more,
})

test("a place on a bridge of the user's is unknown to older bangers; a VM that has one gets the same again", () => {
  const db = database()
  const first = takeBridgeLease(db, bridged("a", { vlan: 20 }))
  expect(takeBridgeLease(db, bridged("a", { address: "192.0.2.7" }))).toEqual(first)
  takeBridgeLease(db, bridged("b"))
  takeBridgeLease(db, bridged("c", { address: "192.0.2.7" }))
  takeBridgeLease(db, bridged("d", { address: "192.0.2.7", bridge: "br1" }))
  expect(listBridgeLeases(db).map(({ vm, address, vlan }) => [vm, address, vlan])).toEqual([
    ["a", undefined, 20],
    ["b", undefined, undefined],
    ["c", "192.0.2.7", undefined],
    ["d", "192.0.2.7", undefined],
  ])
  expect(listLeases(db)).toEqual([])
  for (let round = 0; round < 2; round++) freeBridgeLease(db, { vm: "a", card: "eth0" })
  expect(listBridgeLeases(db)).toHaveLength(3)
})

test.each<[string, Partial<BridgeLease>, string]>([
  ["its MAC", { mac: macOf("a"), bridge: "br1" }, `the MAC address ${macOf("a")} is in use by the VM a`],
  ["its MAC on banger's own", { mac: macOf("own") }, `the MAC address ${macOf("own")} is in use by the VM own`],
  ["its address", { address: "192.0.2.7" }, "the address 192.0.2.7 is in use on br0 by the VM a"],
  ["its interface", { link: "bgra" }, "the interface bgra is in use by the VM a"],
])("what one VM has on a bridge of the user's, another does not get: %s", (_, more, words) => {
  const db = database()
  takeLease(db, request("own"))
  takeBridgeLease(db, bridged("a", { address: "192.0.2.7" }))
  expect(() => takeBridgeLease(db, bridged("b", more))).toThrow(failure("IN_USE", words))
  expect(() => takeLease(db, request("b", { mac: macOf("a") }))).toThrow(
    failure("IN_USE", `the MAC address ${macOf("a")} is in use by the VM a`),
  )
  expect(listBridgeLeases(db)).toHaveLength(1)
})

test.each([
  ["link", 'bgr0" accept; flush ruleset; #'],
  ["bridge", "br0 "],
  ["mac", "02:00:00:00:00:01 }"],
  ["address", "192.0.2.7 }"],
  ["detail", '{"isolate":false,"index":7,"vlan":4095}'],
  ["detail", "{"],
])("a place on a bridge of the user's whose %s is %p is not believed", (column, value) => {
  const db = database()
  takeBridgeLease(db, bridged("a"))
  db.query(`update bridge_leases set ${column} = ?`).run(value)
  expect(() => listBridgeLeases(db)).toThrow()
})

test("a full subnet says so", () => {
  const db = database()
  for (const vm of ["a", "b", "c", "d", "e"]) takeLease(db, request(vm))
  expect(() => takeLease(db, request("f"))).toThrow(
    "the subnet 10.9.0.0/29 of bgr0 is full: all 5 of its addresses are in use",
  )
  expect(takeLease(db, request("g", { bridge: "bgr1" })).number).toBe(2)
})

test.each([
  ["link", 'bgr0" accept; flush ruleset; #'],
  ["bridge", "eth0"],
  ["mac", "02:00:00:00:00:01 }"],
  ["number", 1],
  ["subnet", "10.9.0.1/29"],
  [
    "detail",
    '{"ports":[{"protocol":"tcp","host":80,"guest":70000}],"nat":true,"isolate":true,"ipv6":false,"netns":false}',
  ],
  ["detail", "{"],
])("a lease whose %s is %p is not believed: rules are written with it", (column, value) => {
  const db = database()
  takeLease(db, request("a"))
  db.query(`update leases set ${column} = ?`).run(value)
  expect(() => listLeases(db)).toThrow()
})
