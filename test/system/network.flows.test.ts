import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test"
import { join } from "node:path"
import { withTracking } from "../../src/base/linux/conntrack.ts"
import { interpose } from "../../src/base/linux/interpose.ts"
import { withRoute } from "../../src/base/linux/rtnetlink.ts"
import { bytesOf, parseAddress, parseSubnet, type Subnet } from "../../src/base/terms/address.ts"
import { forgetFlows } from "../../src/host/firewall/flows.ts"
import { eachInItsPlace } from "./support/place.ts"
import { sql } from "./support/vms.ts"
import { beHost, expectNoNetwork, makeOutside, must, type Outside, setting, sh } from "./support/wire.ts"

let outside: Outside
beforeAll(async () => {
  outside = await makeOutside()
})
afterAll(() => outside.close())
beforeEach(() => {
  beHost()
  setting("ipv4/ip_forward", "1")
  setting("ipv6/conf/all/forwarding", "1")
})
const place = eachInItsPlace()
afterEach(expectNoNetwork)

const EBUSY = 16
const driver = join(import.meta.dir, "../fixtures/networkDriver.ts")

/** Makes, or releases, the network of a VM, as a start and an end do; nobody is behind its tap. */
function drive(work: "connect" | "release", vm: string, network: object): void {
  must(process.execPath, driver, work, place.dir, vm, JSON.stringify(network))
  // There is no run whose record this is.
  if (work === "release") sql(place, `update vms set state = 'stopped' where id = '${vm}'`)
}

/** The last of all that a packet passes: counts what goes out to a VM's address. */
function countTo(...addresses: readonly string[]): void {
  const rules = addresses.map((address) => `${address.includes(":") ? "ip6" : "ip"} daddr ${address} counter`)
  must(
    "nft",
    `add table inet seen; add chain inet seen out { type filter hook postrouting priority 300; }; ${rules
      .map((rule) => `add rule inet seen out ${rule}`)
      .join("; ")}`,
  )
}

/** How many packets went out to an address since the last look. */
function seenTo(address: string): number {
  const listed = must("nft", "list", "chain", "inet", "seen", "out")
  const [, packets = "0"] = new RegExp(`daddr ${address} counter packets (\\d+)`).exec(listed) ?? []
  return Number(packets)
}

/** Sends datagrams from one fixed port, each answered before the next where anybody answers. */
const datagrams = (to: string, port: number, from = 40_000) =>
  `const s = require("node:dgram").createSocket("udp${to.includes(":") ? 6 : 4}");
   s.on("error", () => {});
   s.bind(${from}, () => { let left = 5; const go = () => { if (left-- === 0) process.exit(); s.send("x", ${port}, "${to}", () => setTimeout(go, 5)) }; go() })`

const sendThere = (to: string, port: number) => outside.run(process.execPath, "-e", datagrams(to, port))
const sendHere = (to: string, port: number) => sh(process.execPath, "-e", datagrams(to, port))

test("what a client goes on sending to a port reaches the VM that has the port by then, and no other", () => {
  const ports = { ports: ["5353:53/udp", "7000:7/udp"] }
  countTo("10.213.0.2", "10.213.0.3", "10.213.0.4")
  // From before the VM is there.
  sendThere("192.0.2.1", 5353)
  sendHere("127.0.0.1", 7000)
  drive("connect", "a-aaaaaaaa", ports)
  for (const [send, to, port] of [
    [sendThere, "192.0.2.1", 5353],
    [sendHere, "127.0.0.1", 7000],
  ] as const)
    send(to, port)
  expect(seenTo("10.213.0.2")).toBe(10)
  drive("release", "a-aaaaaaaa", ports)
  drive("connect", "c-cccccccc", { ports: [], address: "10.213.0.2" })
  sendThere("192.0.2.1", 5353)
  sendHere("127.0.0.1", 7000)
  expect(seenTo("10.213.0.2")).toBe(10)
  drive("connect", "b-bbbbbbbb", { ...ports, address: "10.213.0.4" })
  sendThere("192.0.2.1", 5353)
  sendHere("127.0.0.1", 7000)
  expect([seenTo("10.213.0.2"), seenTo("10.213.0.4")]).toEqual([10, 10])
  drive("release", "b-bbbbbbbb", ports)
  drive("release", "c-cccccccc", {})
})

/** A machine on a bridge of banger's that stands for the guest whose lease it has. */
async function beGuest(address: string, gateway: string, lladdr: string, also: readonly (readonly string[])[] = []) {
  // In the place of the tap: of other ports of the bridge nothing is let through.
  must("ip", "link", "delete", "bgraaaaaaaa")
  const guest = await makeOutside({ link: "bgraaaaaaaa", here: undefined, there: address })
  const set = (...words: readonly string[]) => expect(guest.run("ip", ...words)).toMatchObject({ exit: 0 })
  set("link", "set", "eth0", "address", lladdr)
  set("route", "add", "default", "via", gateway)
  for (const words of also) set(...words)
  must("ip", "link", "set", "bgraaaaaaaa", "master", "bgr0")
  return guest
}

/** The MAC of a guest, by the host's neighbour entry of its address. */
const macOfGuest = (address: string) =>
  must("ip", "neighbour", "show", "dev", "bgr0", "to", address).match(/lladdr (\S+)/)?.[1] ?? ""

/** How many flows connection tracking remembers that have an address at an end. */
function remembered(text: string): number {
  const address = bytesOf(parseAddress(text) ?? 0)
  const filters = (["original", "reply"] as const).flatMap((direction) =>
    (["source", "destination"] as const).map((end) => ({ direction, end, address })),
  )
  return withTracking((tracking) => tracking.list(filters)).length
}

test("what the world goes on sending to a guest that has ended reaches nobody: UDP by IPv4 and IPv6, pings", async () => {
  const network = { subnet: "10.213.9.0/30", ipv6: true }
  must("ip", "address", "add", "fd00:9::1/64", "dev", "out0", "nodad")
  expect(outside.run("ip", "address", "add", "fd00:9::2/64", "dev", "eth0", "nodad").exit).toBe(0)
  try {
    drive("connect", "a-aaaaaaaa", network)
    const address6 = must("ip", "-6", "neighbour", "show", "dev", "bgr0", "nud", "permanent").split(" ")[0] ?? ""
    const gateway6 = address6.replace(/::2$/, "::1")
    const guest = await beGuest("10.213.9.2/30", "10.213.9.1", macOfGuest("10.213.9.2"), [
      ["address", "add", `${address6}/64`, "dev", "eth0", "nodad"],
      ["-6", "route", "add", "default", "via", gateway6],
    ])
    countTo("10.213.9.2", address6)
    for (const to of ["192.0.2.2", "fd00:9::2"])
      expect(guest.run(process.execPath, "-e", datagrams(to, 9999, 41_000)).exit).toBe(0)
    expect(guest.run("busybox", "ping", "-c", "1", "-W", "4", "192.0.2.2").exit).toBe(0)
    // What comes back goes to the guest, by the flow that it opened: the answers to its datagrams say "nobody is here".
    const answered = [seenTo("10.213.9.2"), seenTo(address6)]
    for (const to of ["192.0.2.1", "fd00:9::1"])
      expect(outside.run(process.execPath, "-e", datagrams(to, 41_000, 9999)).exit).toBe(0)
    expect([seenTo("10.213.9.2"), seenTo(address6)]).toEqual(answered.map((count) => count + 5))
    expect(remembered("10.213.9.2")).toBeGreaterThan(1)
    await guest.close()
    drive("release", "a-aaaaaaaa", network)
    expect(remembered("10.213.9.2")).toBe(0)
    const before = [seenTo("10.213.9.2"), seenTo(address6)]
    drive("connect", "c-cccccccc", network)
    for (const to of ["192.0.2.1", "fd00:9::1"])
      expect(outside.run(process.execPath, "-e", datagrams(to, 41_000, 9999)).exit).toBe(0)
    expect([seenTo("10.213.9.2"), seenTo(address6)]).toEqual(before)
    drive("release", "c-cccccccc", network)
  } finally {
    must("ip", "address", "delete", "fd00:9::1/64", "dev", "out0")
    outside.run("ip", "address", "delete", "fd00:9::2/64", "dev", "eth0")
  }
})

test("a connection that this host itself still has at a port is not cut when a VM gets the port", async () => {
  // Connection tracking is on, as it is where any VM runs.
  must(
    "nft",
    "add table inet watch; add chain inet watch in { type filter hook input priority 0; }; add rule inet watch in ct state new counter",
  )
  const accepted = Promise.withResolvers<{ write(text: string): number }>()
  const listener = Bun.listen({
    hostname: "0.0.0.0",
    port: 8080,
    socket: { open: (socket) => accepted.resolve(socket), data() {} },
  })
  const script = `require("node:net").connect(8080, "192.0.2.1").on("data", (data) => process.stdout.write(data))`
  const client = outside.start(process.execPath, "-e", script)
  const reader = client.stdout.getReader()
  const socket = await accepted.promise
  const said = async (text: string) => {
    socket.write(text)
    return Buffer.from((await reader.read()).value ?? []).toString()
  }
  expect(await said("one")).toBe("one")
  listener.stop()
  drive("connect", "a-aaaaaaaa", { ports: ["8080:80"] })
  expect(await said("two")).toBe("two")
  drive("release", "a-aaaaaaaa", {})
  expect(await said("three")).toBe("three")
  client.kill()
  await client.exited
})

test.each([1, 40])(
  "among thousands of flows those to the ports of %p VMs are forgotten, and no other",
  async (count) => {
    // What the other case has left is remembered still.
    const base = 10_000 * (1 + Math.min(count, 2))
    must("nft", "add table inet seen; add chain inet seen out { type filter hook output priority 0; }")
    must("nft", "add rule inet seen out ct state new accept")
    // Nobody says that nobody is there.
    must("nft", "add chain inet seen in { type filter hook input priority 0; }")
    must("nft", "add rule inet seen in udp dport 10000-40000 drop")
    const socket = await Bun.udpSocket({})
    try {
      for (let port = base; port < base + 6000; port++) socket.send("x", port, "127.0.0.1")
    } finally {
      socket.close()
    }
    const opened = Array.from({ length: count }, (_, at) => ({
      subnet: parseSubnet("10.213.0.0/16") as Subnet,
      number: at + 2,
      ports: [{ protocol: "udp", host: base + at, guest: 53 } as const],
    }))
    const filters = Array.from({ length: 6000 }, (_, at) => ({ protocol: 17, destinationPort: base + at }))
    const ports = () =>
      withTracking((tracking) => tracking.list(filters)).map(({ original }) => original.destinationPort ?? 0)
    expect(ports()).toHaveLength(6000)
    expect(withRoute((route) => forgetFlows(route, { addresses: [], opened }))).toBeUndefined()
    expect(Math.min(...ports())).toBe(base + count)
    expect(ports()).toHaveLength(6000 - count)
    must("nft", "delete table inet seen")
  },
)

test("a flow that the kernel keeps is told of, and keeps no other one from being forgotten", async () => {
  must("nft", "add table inet seen; add chain inet seen out { type filter hook output priority 0; }")
  must("nft", "add rule inet seen out ct state new accept")
  must("nft", "add chain inet seen in { type filter hook input priority 0; }")
  must("nft", "add rule inet seen in udp dport 9000-9009 drop")
  const socket = await Bun.udpSocket({})
  for (let port = 9000; port < 9010; port++) socket.send("x", port, "127.0.0.1")
  socket.close()
  const ports = Array.from({ length: 10 }, (_, at) => ({ protocol: "udp", host: 9000 + at, guest: 53 }) as const)
  const opened = [{ subnet: parseSubnet("10.213.0.0/16") as Subnet, number: 2, ports }]
  const forget = () => withRoute((route) => forgetFlows(route, { addresses: [], opened }))
  const filters = ports.map(({ host }) => ({ protocol: 17, destinationPort: host }))
  let kept = 2
  interpose({ before: (name) => (name === "CT_DELETE" && kept-- > 0 ? EBUSY : 0) })
  try {
    expect(forget()).toMatch(/may reach the next VM: CT_DELETE a tracked flow: EBUSY/)
  } finally {
    interpose(undefined)
  }
  expect(withTracking((tracking) => tracking.list(filters))).toHaveLength(2)
  expect(forget()).toBeUndefined()
  expect(withTracking((tracking) => tracking.list(filters))).toHaveLength(0)
  must("nft", "delete table inet seen")
})

test("a bridge of another's that has the name of one that is gone keeps its own as a VM's network is released", () => {
  drive("connect", "vm-aaaaaaaa", {})
  must("ip", "link", "delete", "bgr0")
  must("ip", "link", "add", "bgr0", "type", "bridge")
  must("ip", "link", "set", "bgr0", "alias", "mine", "up")
  must("ip", "neigh", "add", "10.213.0.2", "lladdr", "02:00:00:00:00:09", "dev", "bgr0", "nud", "permanent")
  drive("release", "vm-aaaaaaaa", {})
  expect(must("ip", "link", "show", "bgr0")).toContain("alias mine")
  expect(must("ip", "neigh", "show", "dev", "bgr0")).toContain("10.213.0.2 lladdr 02:00:00:00:00:09 PERMANENT")
  must("ip", "link", "delete", "bgr0")
})
