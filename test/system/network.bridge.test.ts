import { Database } from "bun:sqlite"
import { afterEach, beforeEach, expect, test } from "bun:test"
import { readSync, rmSync, writeSync } from "node:fs"
import { join } from "node:path"
import { close } from "../../src/base/linux/files.ts"
import { holdTap, newTap, openTun } from "../../src/base/linux/tun.ts"
import { banger, fixture, type Running, start } from "./support/banger.ts"
import { doublesOfFile, kernelOf } from "./support/doubles.ts"
import { eachInItsPlace, records } from "./support/place.ts"
import { beHost, expectNoNetwork, must, sh } from "./support/wire.ts"

// A bridge of the user's: banger puts a tap on it and takes that away again. This process holds taps to play guests, and others
// on the bridge: what it writes there comes in, what the bridge sends out there it reads.

const doubles = doublesOfFile()
beforeEach(() => {
  beHost()
  sh("ip", "link", "delete", "br0")
  must("ip", "link", "add", "br0", "type", "bridge")
  must("ip", "link", "set", "br0", "up")
})
const held = new Set<number>()
afterEach(() => {
  for (const fd of held) close(fd)
  held.clear()
})
const place = eachInItsPlace()
afterEach(() => {
  sh("ip", "link", "delete", "br0")
  expectNoNetwork()
})

const GUEST = "02:00:00:00:00:11"
const BROADCAST = "ff:ff:ff:ff:ff:ff"
const HEADER_BYTES = 10

/** Another port of the bridge. */
function otherPort(name: string): number {
  const fd = openTun()
  newTap(fd, name)
  held.add(fd)
  must("ip", "link", "set", name, "address", "fe:ff:ff:ff:ff:01", "master", "br0", "up")
  return fd
}

/** Lets a tap go: one that is held is not removed. */
function letGo(fd: number): void {
  close(fd)
  held.delete(fd)
}

/** A guest on its tap. */
function guestOn(name: string): number {
  const fd = openTun()
  holdTap(fd, name)
  held.add(fd)
  return fd
}

interface Frame {
  readonly from?: string
  readonly to?: string
  readonly type?: number
  readonly body?: Uint8Array
}

const bytes = (text: string) => Buffer.from(text.replaceAll(":", ""), "hex")
const ip4 = (text: string) => Buffer.from(text.split(".").map(Number))

function frame({ from = GUEST, to = BROADCAST, type = 0x88b5, body = new Uint8Array(50) }: Frame): Buffer {
  const padded = Buffer.concat([body, new Uint8Array(Math.max(0, 46 - body.length))])
  return Buffer.concat([bytes(to), bytes(from), Buffer.of(type >> 8, type & 255), padded])
}

const arp = (mac: string, address: string, from = GUEST) =>
  frame({
    from,
    type: 0x0806,
    body: Buffer.concat([bytes("00010800060400 01".replaceAll(" ", "")), bytes(mac), ip4(address), new Uint8Array(10)]),
  })

function udp(source: string, ports: readonly [number, number], more: Frame = {}): Buffer {
  const header = Buffer.concat([Buffer.from("4500002e0000000040110000", "hex"), ip4(source), ip4("255.255.255.255")])
  // Where br_netfilter is on, a bridge drops a header with a wrong sum (RFC 1071), and cuts what is behind the packet.
  let sum = 0
  for (let at = 0; at < header.length; at += 2) sum += header.readUInt16BE(at)
  header.writeUInt16BE(~((sum & 0xffff) + (sum >> 16)) & 0xffff, 10)
  const words = Buffer.alloc(26)
  words.writeUInt16BE(ports[0], 0)
  words.writeUInt16BE(ports[1], 2)
  words.writeUInt16BE(26, 4)
  return frame({ ...more, type: 0x0800, body: Buffer.concat([header, words]) })
}

function put(fd: number, content: Uint8Array): void {
  writeSync(fd, Buffer.concat([new Uint8Array(HEADER_BYTES), content]))
}

function arrived(fd: number): Buffer | undefined {
  const buffer = Buffer.alloc(2048)
  try {
    return buffer.subarray(HEADER_BYTES, readSync(fd, buffer))
  } catch {
    // EAGAIN: nothing is there.
    return undefined
  }
}

let count = 0

/** A frame that no other is like, and that must come out. */
const marker = (honest: string) => frame({ from: honest, body: Buffer.from(`marker ${++count}`.padEnd(50, ".")) })

/** Whether a frame that is put in at one port comes out at another: a frame behind it that must come out ends the wait. */
async function passes(from: number, to: number, content: Buffer, honest = GUEST): Promise<boolean> {
  // A port that was just taken hold of carries nothing until the kernel has seen that: its first frames are lost.
  await comeOut(from, to, [marker(honest)])
  const seen = await comeOut(from, to, [content, marker(honest)])
  return seen.some((one) => one.equals(content))
}

/** Puts frames in at one port, again and again until the last of them comes out at another, and returns what came out. */
async function comeOut(from: number, to: number, frames: readonly Buffer[]): Promise<readonly Buffer[]> {
  const deadline = performance.now() + 20_000
  const seen: Buffer[] = []
  for (let sent = 0; ; sent++) {
    if (performance.now() > deadline) throw new Error("nothing comes out at all")
    if (sent % 20 === 0) for (const one of frames) put(from, one)
    for (let one = arrived(to); one !== undefined; one = arrived(to)) {
      seen.push(one)
      if (frames.at(-1)?.equals(one) === true) return seen
    }
    await Bun.sleep(10)
  }
}

const driver = join(import.meta.dir, "../fixtures/networkDriver.ts")
const lastEight = (id: string) => `bgr${id.slice(-8)}`

/** Makes, or releases, the network of a VM that has nothing else. */
function drive(work: "connect" | "release", id: string, network: object): string {
  return must(process.execPath, driver, work, place.dir, id, JSON.stringify(network), "0")
}

/** Releases it, and forgets the VM: it has no supervisor that would. */
function release(id: string): void {
  drive("release", id, {})
  forget(id)
}

function forget(id: string): void {
  const db = new Database(join(place.state, "state.db"))
  db.query("delete from vms where id = ?").run(id)
  db.close()
  rmSync(join(place.state, "vms", id), { recursive: true })
}

function boot(network: unknown, name: string, flags: readonly string[] = []): Running {
  const argv = ["run", "--name", name, ...flags, fixture("firecracker"), "--", kernelOf(place.dir, "PRINT[up]")]
  return start(place, [...argv, JSON.stringify({ network })], { ...doubles.env })
}

async function up(network: unknown, name: string, flags: readonly string[] = []): Promise<Running> {
  const run = boot(network, name, flags)
  await run.shows("runs as firecracker")
  return run
}

async function end(run: Running): Promise<string> {
  run.signal("SIGINT")
  const { exit, stderr } = await run.ended
  expect({ exit, stderr }).toMatchObject({ exit: 130 })
  return stderr
}

/** What a bridge is, but for its times and counts. */
const lookOf = (name: string) => {
  const [{ ifindex, flags, mtu, address, linkinfo }] = JSON.parse(must("ip", "-d", "-j", "link", "show", name))
  const { vlan_filtering, stp_state, forward_delay, group_address } = linkinfo.info_data
  return { ifindex, flags, mtu, address, vlan_filtering, stp_state, forward_delay, group_address }
}
const portsOf = (name: string) =>
  (JSON.parse(must("ip", "-j", "link", "show", "master", name)) as { ifname: string }[]).map(({ ifname }) => ifname)

test("a guest is held to its MAC and its address; DHCP, probes and IPv6 pass, another port is not judged", async () => {
  const [watcher, other] = [otherPort("watch0"), otherPort("other0")]
  drive("connect", "vm-aaaaaaaa", { bridge: "br0", mac: GUEST, address: "192.0.2.7" })
  const guest = guestOn(lastEight("vm-aaaaaaaa"))
  const thief = "02:00:00:00:00:99"
  const tagged = frame({ type: 0x8100, body: Buffer.concat([bytes("00140800"), new Uint8Array(46)]) })
  const sends: readonly (readonly [string, Buffer, boolean])[] = [
    ["its own", frame({}), true],
    ["its own address", udp("192.0.2.7", [9, 9]), true],
    ["its own address by ARP", arp(GUEST, "192.0.2.7"), true],
    ["a probe", arp(GUEST, "0.0.0.0"), true],
    ["DHCP's question", udp("0.0.0.0", [68, 67]), true],
    ["IPv6", frame({ type: 0x86dd, body: Buffer.from(`60000000000a3b40${"00".repeat(42)}`, "hex") }), true],
    ["another's MAC", frame({ from: thief }), false],
    ["another's address", udp("192.0.2.8", [9, 9]), false],
    ["no address, and not DHCP's question", udp("0.0.0.0", [68, 9]), false],
    ["another's address by ARP", arp(GUEST, "192.0.2.8"), false],
    ["another's MAC by ARP", arp(thief, "192.0.2.7"), false],
    ["a tag", tagged, false],
    ["spanning tree", frame({ to: "01:80:c2:00:00:00", type: 0x0026 }), false],
  ]
  for (const [what, content, passing] of sends)
    expect({ what, passing: await passes(guest, watcher, content) }).toEqual({ what, passing })
  // Another port may do all of that, also with the guest's own words.
  for (const [what, content] of sends)
    expect({ what, passing: await passes(other, watcher, content, thief) }).toEqual({ what, passing: true })
  // It is the rules that drop them.
  must("nft", "flush", "ruleset")
  for (const [what, content] of sends)
    expect({ what, passing: await passes(guest, watcher, content) }).toEqual({ what, passing: true })
  letGo(guest)
  release("vm-aaaaaaaa")
})

test("without an address a guest is held to its MAC alone; of two isolated ones neither reaches the other", async () => {
  const watcher = otherPort("watch0")
  const [first, second] = ["vm-aaaaaaaa", "vm-bbbbbbbb"]
  drive("connect", first, { bridge: "br0", mac: GUEST })
  drive("connect", second, { bridge: "br0", mac: "02:00:00:00:00:22" })
  const [one, two] = [guestOn(lastEight(first)), guestOn(lastEight(second))]
  expect(await passes(one, watcher, udp("192.0.2.8", [9, 9]))).toBe(true)
  expect(await passes(one, watcher, arp(GUEST, "192.0.2.8"))).toBe(true)
  expect(await passes(one, watcher, frame({ from: "02:00:00:00:00:22" }))).toBe(false)
  expect(await passes(one, watcher, arp("02:00:00:00:00:22", "192.0.2.8"))).toBe(false)
  expect(await passes(one, two, frame({}))).toBe(true)
  for (const name of [first, second]) sh("bridge", "link", "set", "dev", lastEight(name), "isolated", "on")
  put(one, frame({ body: Buffer.from("kept apart".padEnd(50, ".")) }))
  expect(await passes(one, watcher, frame({}))).toBe(true)
  for (let got = arrived(two); got !== undefined; got = arrived(two)) expect(got.toString()).not.toContain("kept apart")
  for (const fd of [one, two]) letGo(fd)
  release(first)
  expect(portsOf("br0").toSorted()).toEqual([lastEight(second), "watch0"].toSorted())
  release(second)
  expect(portsOf("br0")).toEqual(["watch0"])
})

test("the bridge stays as it is: its MAC, MTU, address and ports, also while two VMs are on it", async () => {
  must("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
  must("ip", "link", "set", "lan0", "address", "02:aa:00:00:00:01", "mtu", "9000", "master", "br0", "up")
  must("ip", "link", "set", "lan1", "mtu", "9000", "up")
  must("ip", "address", "add", "192.0.2.1/24", "dev", "br0")
  const before = lookOf("br0")
  expect(before).toMatchObject({ mtu: 9000, address: "02:aa:00:00:00:01" })
  const first = await up({ bridge: "br0" }, "first")
  const second = await up({ bridge: "br0", address: "192.0.2.7", mac: GUEST, isolate: true }, "second")
  expect(lookOf("br0")).toEqual(before)
  const { leases, taps, bridges, tables } = JSON.parse((await banger(place, ["net", "ls", "--json"])).stdout)
  expect(bridges).toEqual([])
  expect(taps).toMatchObject([
    { bridge: "br0", ours: true },
    { bridge: "br0", ours: true },
  ])
  expect(leases.toSorted((a: { name: string }, b: { name: string }) => a.name.localeCompare(b.name))).toMatchObject([
    { name: "first", bridge: "br0", subnet: null, address: null, vlan: null, isolated: false, ports: [] },
    { name: "second", address: "192.0.2.7", mac: GUEST, isolated: true },
  ])
  expect(tables).toMatchObject([{ ours: true, name: expect.stringMatching(/_ports$/) }])
  const [tap] = leases
    .filter(({ name }: { name: string }) => name === "second")
    .map((one: { interface: string }) => one.interface)
  expect(must("bridge", "-d", "link", "show", "dev", tap)).toContain("isolated on")
  const check = () => banger(place, ["net", "check", "--bridge", "br0"])
  expect(await check()).toMatchObject({ exit: 0, stdout: expect.stringContaining(`${tap} of second-`) })
  must("nft", "flush", "ruleset")
  expect(await check()).toMatchObject({ exit: 1, stdout: expect.stringContaining("its rules are gone") })
  expect((await banger(place, ["net", "rm"])).exit).toBe(0)
  expect(await check()).toMatchObject({ exit: 0 })
  must("ip", "link", "set", tap, "nomaster")
  expect(await check()).toMatchObject({ exit: 1, stdout: expect.stringContaining("is no port of br0") })
  expect((await boot({ bridge: "br0", mac: GUEST }, "third").ended).stderr).toContain(
    `the MAC address ${GUEST} is in use by the VM second-`,
  )
  expect((await boot({ bridge: "br0", address: "192.0.2.7" }, "third").ended).stderr).toContain(
    "the address 192.0.2.7 is in use on br0 by the VM second-",
  )
  expect(await end(first)).toMatch(
    /bgr\w{8} is a port of br0; left alone: br0 itself, its addresses and its other port/,
  )
  await end(second)
  expect(lookOf("br0")).toEqual(before)
  expect(portsOf("br0")).toEqual(["lan0"])
  must("ip", "link", "delete", "lan0")
})

test.each([
  ["gone", [], "the bridge br0 went away while fc-"],
  [
    "replaced",
    [["ip", "link", "add", "br0", "type", "bridge"]],
    "the bridge br0 was replaced by another one while fc-",
  ],
])("a bridge that is %s by then is told of, and the tap goes all the same", async (_, after, words) => {
  const run = await up({ bridge: "br0" }, "fc")
  must("ip", "link", "delete", "br0")
  for (const argv of after) must(...argv)
  const said = await end(run)
  expect(said).toContain(words)
  // It had no other port, and nobody gave it an address.
  expect(said).toContain("by chance, and has one of its ports' now: ip link set br0 address ")
  sh("ip", "link", "add", "br0", "type", "bridge")
})

test("what a killed banger has left on a bridge of the user's goes with its VM, or by the sweep; another's port stays", async () => {
  const other = otherPort("other0")
  const run = await up({ bridge: "br0" }, "fc")
  run.signal("SIGKILL")
  await run.ended
  expect(await banger(place, ["rm", "-f", "fc"], doubles.env)).toMatchObject({ exit: 0 })
  expect(portsOf("br0")).toEqual(["other0"])
  // A VM whose record is lost: nothing but the lease tells of it.
  drive("connect", "vm-aaaaaaaa", { bridge: "br0" })
  forget("vm-aaaaaaaa")
  rmSync(join(place.dir, "run", "vm-aaaaaaaa"), { recursive: true })
  const { stdout } = await banger(place, ["net", "rm"])
  expect(stdout).toContain("removed: tap bgraaaaaaaa: no VM has it, and no process holds it")
  expect(stdout).toMatch(/removed: table banger\w*_ports: no VM needs it/)
  expect(stdout).toContain("removed: lease vm-aaaaaaaa: there is no such VM")
  expect(portsOf("br0")).toEqual(["other0"])
  letGo(other)
})

test.each([
  ["an interface that is not there", { bridge: "br7" }, "network.bridge: there is no interface br7"],
  ["one that is no bridge", { bridge: "lo" }, "network.bridge: lo is not a bridge (a device)"],
  ["a VLAN where none is filtered", { bridge: "br0", vlan: 20 }, "network.vlan: the bridge br0 does not filter VLANs"],
  ["a subnet", { bridge: "br0", subnet: "10.9.0.0/24" }, "no subnet on br0, which is a bridge of yours"],
  ["NAT", { bridge: "br0", nat: true }, "no nat on br0"],
  ["ports", { bridge: "br0", ports: ["80:80"] }, "no ports on br0"],
  ["a VLAN on banger's own", { vlan: 20 }, "no vlan on bgr0, which is banger's own"],
])("%s is refused by name, and nothing is made", async (_, network, words) => {
  const { stderr, exit } = await boot(network, "fc").ended
  expect({ exit: exit !== 0, stderr }).toMatchObject({ exit: true, stderr: expect.stringContaining(words) })
  expect(records(place)).toEqual([])
  expect(portsOf("br0")).toEqual([])
})

test("a bridge that is down is refused, with the command that brings it up", async () => {
  must("ip", "link", "set", "br0", "down")
  const { stderr } = await boot({ bridge: "br0" }, "fc").ended
  expect(stderr).toContain("network.bridge: the bridge br0 is down")
  expect(stderr).toContain("ip link set br0 up")
})

test("a snapshot of a guest on a bridge of the user's goes on there with its MAC; a bridge of banger's is refused by name", async () => {
  const dir = join(place.dir, "saved")
  const first = await up({ bridge: "br0" }, "first")
  const [{ mac }] = JSON.parse((await banger(place, ["net", "ls", "--json"])).stdout).leases
  expect(await banger(place, ["snapshot", "first", dir])).toMatchObject({ exit: 0 })
  await end(first)
  const own = await boot(true, "own", ["--restore", dir]).ended
  expect(own.stderr).toContain(`network.bridge: the guest of ${dir} had its address from others, not on bgr0`)
  const again = await up({ bridge: "br0" }, "again", ["--restore", dir])
  const { leases } = JSON.parse((await banger(place, ["net", "ls", "--json"])).stdout)
  expect(leases).toMatchObject([{ name: "again", bridge: "br0", address: null, mac }])
  await end(again)
})

const fdb = () => must("bridge", "fdb", "show", "br", "br0")
const rootPort = () => JSON.parse(must("ip", "-d", "-j", "link", "show", "br0"))[0].linkinfo.info_data.root_port

/** A bridge protocol data unit that claims to be the root of all. */
function bpdu(from = GUEST): Buffer {
  const root = Buffer.concat([Buffer.from("0000", "hex"), bytes(from)])
  const body = ["4242030000000000", root, "00000000", root, "8001", "0000", "1400", "0200", "0000"]
  const words = Buffer.concat(body.map((part) => (typeof part === "string" ? Buffer.from(part, "hex") : part)))
  return frame({ from, to: "01:80:c2:00:00:00", type: words.length, body: words })
}

test.each([
  ["without spanning tree", 0],
  ["with it", 1],
])(
  "%s a bridge learns no MAC from a guest but its own, and takes no root from it, whatever it sends",
  async (_, stp) => {
    must("ip", "link", "set", "br0", "type", "bridge", "stp_state", String(stp), "forward_delay", "200")
    const watcher = otherPort("watch0")
    drive("connect", "vm-aaaaaaaa", { bridge: "br0", mac: GUEST })
    const link = lastEight("vm-aaaaaaaa")
    const guest = guestOn(link)
    expect(fdb()).toContain(`${GUEST} dev ${link} master br0 static`)
    // A port of a bridge that speaks spanning tree listens and learns before it forwards.
    expect(await passes(guest, watcher, frame({}))).toBe(true)
    const thief = (last: string) => `02:de:ad:00:00:${last}`
    put(guest, frame({ from: thief("ff") }))
    for (const last of ["00", "01", "02", "03", "0d", "0e", "0f", "20", "21"])
      put(guest, frame({ from: thief(last), to: `01:80:c2:00:00:${last}`, type: 0x88cc }))
    expect(await passes(guest, watcher, frame({}))).toBe(true)
    expect(fdb()).not.toContain("02:de:ad")
    put(guest, bpdu())
    // The port is shut by that, so nothing behind it tells when it was taken.
    await Bun.sleep(300)
    expect(rootPort()).toBe(0)
    letGo(guest)
    release("vm-aaaaaaaa")
  },
  60_000,
)

test("a VM that lost its record keeps its rules while its VMM runs; emptied rules are told, and made anew", async () => {
  const watcher = otherPort("watch0")
  drive("connect", "vm-aaaaaaaa", { bridge: "br0", mac: GUEST })
  const guest = guestOn(lastEight("vm-aaaaaaaa"))
  const thief = frame({ from: "02:00:00:00:00:99" })
  forget("vm-aaaaaaaa")
  for (const words of [["net", "rm"], ["sweep"], ["sweep"]]) {
    await banger(place, words)
    expect({ words, passing: await passes(guest, watcher, thief) }).toEqual({ words, passing: false })
  }
  const [table = ""] = must("nft", "list", "tables")
    .split("\n")
    .filter((line) => line.endsWith("_ports"))
  must("nft", ...table.replace("table", "flush table").split(" "))
  const check = await banger(place, ["net", "check", "--bridge", "br0"])
  expect(check).toMatchObject({ exit: 1, stdout: expect.stringContaining("its rules are gone") })
  await banger(place, ["sweep"])
  expect(await passes(guest, watcher, thief)).toBe(false)
  must("ip", "link", "set", lastEight("vm-aaaaaaaa"), "down")
  expect((await banger(place, ["net", "check", "--bridge", "br0"])).stdout).toContain("is down")
  letGo(guest)
  await banger(place, ["sweep"])
  expect(portsOf("br0")).toEqual(["watch0"])
  // Too young for a sweep.
  rmSync(join(place.runtime, "vm-aaaaaaaa"), { recursive: true })
})

test("a bridge by another name of it is refused, with the name that it has", async () => {
  must("ip", "link", "property", "add", "dev", "br0", "altname", "lan0")
  const { stderr, exit } = await boot({ bridge: "lan0" }, "other").ended
  expect({ stderr, exit }).toMatchObject({ exit: 2, stderr: expect.stringContaining("lan0 is another name of br0") })
})

test("where nft cannot tell, the rules are not said to be gone", async () => {
  drive("connect", "vm-aaaaaaaa", { bridge: "br0", mac: GUEST })
  const failing = ["unshare", "--mount", "sh", "-c", 'mount --bind /bin/false "$(command -v nft)" && exec "$@"', "sh"]
  const { stdout, stderr, exit } = await start(place, ["net", "check", "--bridge", "br0"], {}, { through: failing })
    .ended
  expect({ stdout, stderr, exit }).toMatchObject({
    stdout: "",
    stderr: expect.stringContaining("nft list table bridge"),
  })
  expect(exit).toBe(1)
  release("vm-aaaaaaaa")
})
