import { expect, test } from "bun:test"
import type { Link } from "../../../src/base/linux/links.ts"
import { parseSubnet, type Subnet } from "../../../src/base/terms/address.ts"
import { type Port, parsePort } from "../../../src/base/terms/ports.ts"
import { judge } from "../../../src/host/network/check.ts"
import { firstCollision } from "../../../src/host/network/collisions.ts"
import { findNameServers, guestWords, nameServers } from "../../../src/host/network/guestWords.ts"
import { missingHere, parseForwards, parseListeners } from "../../../src/host/network/listeners.ts"
import {
  cardMac,
  formatAlias,
  linkName,
  linkOf,
  macOf,
  ownerOf,
  parseAlias,
  portGroup,
  tableName,
} from "../../../src/host/network/names.ts"
import { opensLoopback, planRules, ruledLeases } from "../../../src/host/network/rules.ts"
import { requireHolder } from "../../../src/host/network/tap.ts"
import { parseTapName } from "../../../src/host/network/tapHolders.ts"
import type { Lease } from "../../../src/store/state/leases.ts"

const OWNER = "/var/lib/banger"
const subnet = parseSubnet("10.213.0.0/16") as Subnet
const port = (text: string) => parsePort(text) as Port
const LEASE: Lease = {
  ...{
    vm: "vm-aaaaaaaa",
    card: "eth0",
    bridge: "bgr0",
    subnet,
    number: 2,
    mac: "02:00:00:00:00:01",
    link: "bgraaaaaaaa",
  },
  ...{ ports: [], nat: true, isolate: true, ipv6: false, netns: false },
}
test("each card of a VM has an interface and a MAC of its own; the first has the VM's", () => {
  const id = "web-abcd1234"
  expect(linkOf(id, [])).toBe(linkName(id))
  expect(linkOf(id, ["bgrabcd1234"])).toBe("bgrabcd1234c1")
  expect(linkOf(id, ["bgrabcd1234", "bgrabcd1234c1", "bgrabcd1234c3"])).toBe("bgrabcd1234c2")
  expect(linkOf("another id", [linkName("another id")])).toMatch(/^bgr[0-9a-f]{9}c1$/)
  expect(cardMac({ vm: id, card: "eth0" })).toBe(macOf(id))
  expect(cardMac({ vm: id, card: "lan" })).not.toBe(cardMac({ vm: id, card: "wan" }))
})

const rules = (...leases: readonly Partial<Lease>[]) =>
  planRules(
    OWNER,
    leases.map((lease) => ({ ...LEASE, ...lease })),
  )

test.each<[string, Partial<Lease>, string]>([
  ["a way out by the host's address", {}, 'oifname != { "bgr0" } ip saddr 10.213.0.2 masquerade'],
  [
    "a port of any address of the host",
    { ports: [port("8080:80")] },
    "meta nfproto ipv4 fib daddr type local tcp dport 8080 dnat ip to 10.213.0.2:80",
  ],
  [
    "a port of one address",
    { ports: [port("127.0.0.1:53:5353/udp")] },
    "meta nfproto ipv4 ip daddr 127.0.0.1 udp dport 53 dnat ip to 10.213.0.2:5353",
  ],
  ["what only comes back, or in by a port", {}, 'oifname { "bgr0" } ct state established,related accept'],
  ["no other of its bridge, by the host", {}, 'iifname "bgr0" oifname "bgr0" meta protocol { ip, ip6 } drop'],
  ["no other of its bridge, by the bridge", {}, "iifname @ports drop"],
  ["others that are open too", { isolate: false }, 'set open {\ntype ifname;\nelements = { "bgraaaaaaaa" };\n}'],
  ["its own MAC only", {}, 'elements = { "bgraaaaaaaa" . 02:00:00:00:00:01 };'],
  ["its own address only", {}, 'elements = { "bgraaaaaaaa" . 10.213.0.2 };'],
  ["nothing by a port that no rule knows", {}, `meta iifgroup ${portGroup(OWNER, "own")} iifname != @ports drop`],
  ["no way to the host's loopback", {}, 'iifname { "bgr0" } ip daddr 127.0.0.0/8 drop'],
  [
    "no way to a cloud's metadata",
    {},
    'iifname { "bgr0" } ip daddr { 169.254.0.0/16, 168.63.129.16, 100.100.100.200 } drop',
  ],
  ["a cloud's name server", {}, "100.100.100.200 } udp dport 53 accept"],
  [
    "no other's address to tell by IPv6",
    { ipv6: true },
    'iifname "bgraaaaaaaa" icmpv6 type nd-neighbor-advert @th,64,16 & 0xffc0 != 0xfe80 @th,64,128 != 0xfd',
  ],
  ["others' packets without NAT, when it has none", { nat: false }, "elements = { 10.213.0.2 };"],
])("the rules give a guest %s", (_, lease, part) => expect(rules(lease)).toContain(part))

test("the rules replace what there is in one transaction; without a lease they only go", () => {
  const gone = "add table inet banger\ndelete table inet banger\nadd table bridge banger\ndelete table bridge banger\n"
  expect(planRules(OWNER, [])).toBe(gone)
  expect(rules({})).toStartWith(gone)
  expect(rules({ nat: false })).not.toContain("saddr 10.213.0.2 masquerade")
  expect(rules({ ipv6: true })).toContain("nd-router-advert")
  expect(rules({})).not.toContain("nd-router-advert")
})

test("a bridge has rules for all of its VMs as soon as one needs them, and the loopback's way when a port does", () => {
  const free = { ...LEASE, nat: false, isolate: false }
  const strict = { ...LEASE, vm: "vm-bbbbbbbb", number: 3 }
  const away = { ...free, vm: "vm-cccccccc", bridge: "bgr1" }
  expect(ruledLeases([free, away])).toEqual([])
  expect(ruledLeases([free, strict, away])).toEqual([free, strict])
  const opens = (...ports: readonly string[]) => opensLoopback([{ ports: ports.map(port) }])
  expect([opens(), opens("192.0.2.1:80:80"), opens("80:80"), opens("127.0.0.2:80:80")]).toEqual([
    false,
    false,
    true,
    true,
  ])
})

test("only guests that have IPv6 get to speak it", () => {
  const six = rules({}, { vm: "vm-bbbbbbbb", number: 3, link: "bgrbbbbbbbb", ipv6: true })
  expect(six).toContain('set six {\ntype ifname;\nelements = { "bgrbbbbbbbb" };\n}')
  expect(six).toContain("ether type ip6 iifname @six ip6 saddr { ::, fe80::/10 } accept")
})

test("tables, taps and MACs of different owners and VMs are different", () => {
  expect(tableName("/var/lib/banger")).toBe("banger")
  expect(tableName("/srv/a")).toMatch(/^banger_[0-9a-f]{8}$/)
  expect(tableName("/srv/a")).not.toBe(tableName("/srv/b"))
  expect(linkName("my-web-server-0123456-abcd1234")).toBe("bgrabcd1234")
  expect(linkName("odd")).toMatch(/^bgr[0-9a-f]{12}$/)
  const macs = Array.from({ length: 1000 }, (_, index) => macOf(`vm-${index}`))
  expect(new Set(macs).size).toBe(1000)
  for (const mac of macs) expect(mac).toMatch(/^02(:[0-9a-f]{2}){5}$/)
})

test.each([
  { kind: "tap", vm: "vm-aaaaaaaa", owner: "/var/lib/banger" },
  { kind: "bridge", vm: undefined, owner: "/srv/x y" },
  { kind: "veth", vm: "vm-1", owner: `/${"long/".repeat(100)}` },
] as const)("an alias says whose a link is, and fits into 255 bytes", ({ kind, vm, owner }) => {
  const whose = ownerOf(owner)
  const text = formatAlias({ kind, vm, owner: whose })
  expect(Buffer.byteLength(text)).toBeLessThan(256)
  expect(parseAlias(text)).toEqual({ kind, vm, owner: whose })
})

test.each([undefined, "", "banger", "banger tap", "banger tap x", "uplink", "banger nic vm-1 /x", "banger tap VM /x"])(
  "%p is no alias of banger's",
  (text) => expect(parseAlias(text)).toBeUndefined(),
)

test("the guest's words are the kernel's own, and leave alone what is there", () => {
  const guest = { name: "web", address: "10.213.0.2", prefix: 16, gateway: "10.213.0.1", ipv6: undefined, dns: [] }
  expect(guestWords("console=ttyS0", guest)).toEqual(["ip=10.213.0.2::10.213.0.1:255.255.0.0:web:eth0:off"])
  expect(guestWords("", { ...guest, dns: ["1.1.1.1", "9.9.9.9"] })[0]).toEndWith(":eth0:off:1.1.1.1:9.9.9.9")
  expect(guestWords("quiet ip=dhcp", guest)).toEqual([])
  expect(guestWords("", { ...guest, ipv6: { address: "fd00::2", gateway: "fd00::1" } })[1]).toBe(
    "banger.ip6=fd00::2/64,fd00::1",
  )
})

test("a guest gets the name servers that it can reach", () => {
  expect(nameServers("nameserver 127.0.0.53\noptions edns0\n")).toEqual([])
  expect(
    nameServers("# nameserver 9.9.9.9\nnameserver 1.1.1.1\nnameserver ::1\n nameserver 8.8.8.8\nnameserver 8.8.4.4"),
  ).toEqual(["1.1.1.1", "8.8.8.8"])
})

test("sockets that take what comes in are read from the kernel's tables", () => {
  const tcp = [
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
    "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1",
    "   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1",
    "   2: 0100007F:0050 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 333 1",
  ].join("\n")
  expect(parseListeners(tcp, "tcp")).toEqual([
    { protocol: "tcp", address: "127.0.0.1", host: 8080, inode: "111" },
    { protocol: "tcp", address: undefined, host: 22, inode: "222" },
  ])
  const tcp6 =
    "   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 444 1"
  expect(parseListeners(tcp6, "tcp")).toEqual([{ protocol: "tcp", address: undefined, host: 8080, inode: "444" }])
})

test("the ports that another banger forwards are read from its rules", () => {
  const printed = `table inet banger_0123abcd {
	chain inward {
		meta nfproto ipv4 fib daddr type local tcp dport 8080 dnat ip to 10.214.0.2:80
		meta nfproto ipv4 ip daddr 127.0.0.1 udp dport 53 dnat ip to 10.214.0.2:5353
		ip saddr 10.0.0.1 tcp dport 22 accept
	}
}`
  expect(parseForwards(printed)).toEqual([
    { protocol: "tcp", address: undefined, host: 8080 },
    { protocol: "udp", address: "127.0.0.1", host: 53 },
  ])
})

test("of the networks of the host the first that collides is found", () => {
  const known = ["192.168.0.0/24", "10.0.0.0/8"].map((text) => ({
    subnet: parseSubnet(text) as Subnet,
    link: undefined,
    address: undefined,
  }))
  expect(firstCollision(subnet, known)).toBe(known[1])
  expect(firstCollision(parseSubnet("172.20.0.0/16") as Subnet, known)).toBeUndefined()
})

test("a check says where packets stopped, and no more", () => {
  const why = { forward: "because of it" }
  const stopped = (count: Record<string, number>, answered = false) =>
    judge(count, { answered, to: "192.0.2.2", ...why }).at(-1)
  expect(stopped({})).toMatchObject({ ok: false, what: expect.stringContaining("host's routing") })
  expect(stopped({ arrived: 1 })).toMatchObject({ ok: false, why: expect.stringContaining("ip_forward") })
  expect(stopped({ arrived: 1, routed: 1 })).toMatchObject({ ok: false, why: "because of it" })
  expect(stopped({ arrived: 1, routed: 1, passed: 1, left: 1 })).toMatchObject({ ok: false, what: "192.0.2.2 answers" })
  expect(
    judge({ arrived: 1, routed: 1, passed: 1, left: 1 }, { answered: true, to: "192.0.2.2", ...why }).every(
      ({ ok }) => ok,
    ),
  ).toBe(true)
})

test("a tap that the jail's uid and gid could not both open is told before the VMM fails on it", () => {
  const plan = { name: "bgrabcd1234", vm: "web-abcd1234", user: { uid: 100_000, gid: 100_001 } }
  const of = (holder: Link["holder"]) => () => requireHolder({ holder } as Link, plan)
  of({ uid: 100_000, gid: 100_001 })()
  const words = (uid: string, gid: string) =>
    `the tap bgrabcd1234 is of uid ${uid} and gid ${gid}, so web-abcd1234 as 100000:100001 cannot open it`
  expect(of({ uid: 100_000, gid: 100_000 })).toThrow(words("100000", "100000"))
  expect(of({ uid: undefined, gid: 100_001 })).toThrow(words("nobody", "100001"))
  expect(of(undefined)).toThrow(words("nobody", "nobody"))
})

test("a tap's name is read from a descriptor's fdinfo", () => {
  expect(parseTapName("pos:\t0\nflags:\t0104002\nmnt_id:\t15\niff:\tbgrabcd1234\n")).toBe("bgrabcd1234")
  expect(parseTapName("pos:\t0\nflags:\t0104002\n")).toBeUndefined()
})

const RESOLVED = "/run/systemd/resolve/resolv.conf"
test.each<[string, Readonly<Record<string, string>>, readonly string[], RegExp?]>([
  ["what resolv.conf names", { "/etc/resolv.conf": "search x\nnameserver 192.0.2.1\n" }, ["192.0.2.1"]],
  [
    "what systemd-resolved asks",
    { "/etc/resolv.conf": "nameserver 127.0.0.53\n", [RESOLVED]: "nameserver 192.0.2.1\n" },
    ["192.0.2.1"],
  ],
  [
    "what NetworkManager asks",
    {
      "/etc/resolv.conf": "nameserver 127.0.1.1\n",
      "/run/NetworkManager/no-stub-resolv.conf": "nameserver 192.0.2.7\n",
    },
    ["192.0.2.7"],
  ],
  [
    "what dnsmasq asks, where there is no resolv.conf",
    { "/run/dnsmasq/resolv.conf": "nameserver 192.0.2.8\n" },
    ["192.0.2.8"],
  ],
  ["a cloud's, which guests reach", { "/etc/resolv.conf": "nameserver 169.254.169.253\n" }, ["169.254.169.253"]],
  [
    "those of a mix that can be used",
    { "/etc/resolv.conf": "nameserver ::1\nnameserver 2001:db8::53\n\tnameserver 192.0.2.1\n" },
    ["192.0.2.1"],
  ],
  [
    "no loopback",
    { "/etc/resolv.conf": "nameserver 127.0.0.53\noptions edns0\n", [RESOLVED]: "nameserver ::1\n" },
    [],
    /^\/etc\/resolv\.conf names 127\.0\.0\.53 \(this host alone\), \/run\/systemd\/resolve\/resolv\.conf names ::1 \(this host alone\)$/,
  ],
  ["no IPv6", { "/etc/resolv.conf": "nameserver 2001:db8::53\n" }, [], /2001:db8::53 \(IPv6/],
  ["nothing of one link", { "/etc/resolv.conf": "nameserver fe80::1%eth0\n" }, [], /fe80::1%eth0 \(of one link\)/],
  [
    "no names, and nothing that a terminal would obey",
    { "/etc/resolv.conf": "nameserver dns.\u001b[31mtest\n" },
    [],
    /^(?!.*\u001b).*\(no address\)/,
  ],
  ["0.0.0.0 for this host", { "/etc/resolv.conf": "nameserver 0.0.0.0\n" }, [], /this host alone/],
  ["none where none is named", { "/etc/resolv.conf": "search example.net\n" }, [], /names none$/],
  ["none where there is no file", {}, [], /^there is no \/etc\/resolv\.conf$/],
])("a guest is told %s", (...[_, files, servers, why]) => {
  const found = findNameServers((path) => files[path])
  expect(found).toEqual({ servers, why: why === undefined ? undefined : expect.stringMatching(why) })
})

test("what a network names and the host does not have is said by name", () => {
  const here = { own: ["192.0.2.1", "10.213.0.1"], answers: (address: string) => address === "192.0.2.1" }
  const missing = (ports: readonly string[], dns?: readonly string[]) =>
    missingHere({ ports: ports.map(port), dns }, here)
  expect(
    missing(["80:80", "192.0.2.1:81:80", "127.0.0.1:82:80", "10.213.0.1:83:80"], ["192.0.2.1", "9.9.9.9"]),
  ).toEqual([])
  expect(missing(["203.0.113.9:80:80/udp"], ["10.213.0.1"])).toEqual([
    "the port 203.0.113.9:80:80/udp is of 203.0.113.9, which is no address of this host: nobody reaches it until it is",
    "the name server 10.213.0.1 is this host, where nothing answers at port 53/udp",
  ])
})
