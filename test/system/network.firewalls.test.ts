import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test"
import { createSocket } from "node:dgram"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { findBlockers, type Guest } from "../../src/host/firewall/blockers.ts"
import { runSystem } from "../../src/store/files/programs.ts"
import { banger, until } from "./support/banger.ts"
import { doublesOfFile } from "./support/doubles.ts"
import { eachInItsPlace } from "./support/place.ts"
import { noted, runDouble, sql } from "./support/vms.ts"
import { beHost, expectNoNetwork, makeOutside, must, type Outside, setting, sh } from "./support/wire.ts"

// Rules as other programs write them, on a real kernel: what is told of them is held against what becomes of real packets.

const doubles = doublesOfFile()
const PORTS = [443, 80]
let outside: Outside
const servers: { stop(): void }[] = []

/** Answers at the ports that are tried, by TCP and UDP. */
const SERVE = `for (const port of [443, 80]) Bun.listen({ hostname: "0.0.0.0", port, socket: { data() {} } })
  const s = require("node:dgram").createSocket("udp4"); s.on("message", (m, r) => s.send(m, r.port, r.address)); s.bind(53, () => console.log("up"))`
/** Prints which of TCP 443 and 80, UDP 53 and a ping come through to an address. */
const TRY = `const to = process.argv[1]
  const within = (work) => Promise.race([work, Bun.sleep(1500).then(() => false)]).catch(() => false)
  const tcp = (port) => within(Bun.connect({ hostname: to, port, socket: { data() {} } }).then(() => true))
  const udp = within(new Promise((done) => { const s = require("node:dgram").createSocket("udp4"); s.on("error", () => done(false)); s.on("message", () => done(true)); s.send("x", 53, to) }))
  const ping = within(Bun.spawn(["busybox", "ping", "-c", "1", "-W", "1", to], { stdout: "ignore" }).exited.then((exit) => exit === 0))
  console.log(JSON.stringify(await Promise.all([tcp(443), tcp(80), udp, ping]))); process.exit()`
/** The same of TCP 8080. */
const TRY_PORT = `const connected = Bun.connect({ hostname: process.argv[1], port: 8080, socket: { data() {} } }).then(() => true, () => false)
  console.log(JSON.stringify([await Promise.race([connected, Bun.sleep(1500).then(() => false)])])); process.exit()`

beforeAll(async () => {
  beHost()
  outside = await makeOutside()
  await outside.start(process.execPath, "-e", SERVE).stdout.getReader().read()
  for (const port of PORTS) servers.push(Bun.listen({ hostname: "0.0.0.0", port, socket: { data() {} } }))
  const udp = createSocket("udp4")
  udp.on("message", (message, { port, address }) => udp.send(message, port, address))
  await new Promise<void>((done) => udp.bind(53, done))
  servers.push({ stop: () => udp.close() })
})
afterAll(() => {
  for (const server of servers) server.stop()
  return outside.close()
})
beforeEach(() => {
  beHost()
  setting("ipv4/ip_forward", "1")
  must("ip", "route", "replace", "default", "via", "192.0.2.2")
})
const place = eachInItsPlace()
afterEach(() => {
  for (const name of ["iptables-legacy", "ip6tables-legacy"]) {
    for (const words of ["-P FORWARD ACCEPT", "-P INPUT ACCEPT", "-F", "-X"]) sh(name, ...words.split(" "))
    for (const table of ["raw", "mangle"]) sh(name, "-t", table, "-F")
  }
  sh("nft", "flush", "ruleset")
})
afterEach(expectNoNetwork)

const driver = join(import.meta.dir, "../fixtures/networkDriver.ts")
function drive(work: "connect" | "release", vm: string, network: object): void {
  must(process.execPath, driver, work, place.dir, vm, JSON.stringify(network))
  if (work === "release") sql(place, `update vms set state = 'stopped' where id = '${vm}'`)
}

const GUEST: Guest = {
  ...{ bridge: "bgr0", named: "bgr0", address: "10.213.0.2", gateway: "10.213.0.1", family: "ip", uplink: "out0" },
  ports: [{ protocol: "tcp", host: 8080, guest: 80 }],
}

function blockers(guest: Guest = GUEST) {
  const read = (path: string) => {
    try {
      return readFileSync(path, "latin1")
    } catch {
      return undefined
    }
  }
  return findBlockers({ run: runSystem, read }, [guest]) ?? []
}

/** What really is shut: nothing that is tried passes. */
async function shut(guest: Outside): Promise<readonly string[]> {
  const tried = async (machine: Outside, to: string, script = TRY) => {
    const child = machine.start("timeout", "8", process.execPath, "-e", script, to)
    return JSON.parse(await child.stdout.text()) as boolean[]
  }
  const [out = [], here = [], into = []] = await Promise.all([
    tried(guest, "192.0.2.2"),
    tried(guest, "10.213.0.1"),
    tried(outside, "192.0.2.1", TRY_PORT),
  ])
  const ways = [
    ["out", out],
    ["in", into],
    ["here", here],
  ] as const
  return ways.flatMap(([way, passed]) => (passed.includes(true) ? [] : [way]))
}

const nft = (rules: string) => () => Bun.spawnSync(["nft", "-f", "-"], { stdin: Buffer.from(rules) })
const lines =
  (program: string, ...all: readonly string[]) =>
  () => {
    for (const one of all) must(program, "-w", ...one.split(" "))
  }
const forward = (family: string, name: string, rules: string, head = "priority 0; policy accept;", hook = "forward") =>
  nft(`table ${family} ${name} {\nchain forward {\ntype filter hook ${hook} ${head}\n${rules}\n}\n}\n`)

/** What Docker writes, with its bridge, by this program. */
const docker = (program: string) =>
  lines(
    program,
    ...["-P FORWARD DROP", "-N DOCKER", "-N DOCKER-USER", "-N DOCKER-FORWARD", "-N DOCKER-CT", "-N DOCKER-BRIDGE"],
    ...["-A FORWARD -j DOCKER-USER", "-A FORWARD -j DOCKER-FORWARD", "-A DOCKER-FORWARD -j DOCKER-CT"],
    ...["-A DOCKER-FORWARD -j DOCKER-BRIDGE", "-A DOCKER-FORWARD -i docker0 -j ACCEPT"],
    ...["-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"],
    ...["-A DOCKER-BRIDGE -o docker0 -j DOCKER", "-A DOCKER ! -i docker0 -o docker0 -j DROP"],
  )

/** What firewalld writes, with this host's cable in the zone public, and all other interfaces too. */
const firewalld = (trusted = "") => {
  const zones = (chain: string) => `chain ${chain}_ZONES {
${trusted === "" ? "" : `iifname "${trusted}" goto ${chain}_trusted`}
iifname "out0" goto ${chain}_public
goto ${chain}_public
}
chain ${chain}_trusted {
accept
}
`
  return nft(`table inet firewalld {
chain filter_FWD_public {
meta l4proto { icmp, ipv6-icmp } accept
}
chain filter_IN_public {
tcp dport 22 ct state { new, untracked } accept
ip6 daddr fe80::/64 udp dport 546 ct state { new, untracked } accept
}
${zones("filter_IN").replaceAll("filter_IN_ZONES", "filter_INPUT_ZONES")}
${zones("filter_FWD").replaceAll("filter_FWD_ZONES", "filter_FORWARD_ZONES").replace("goto filter_FWD_public\n}", "goto filter_FWDNONE\n}").replace('iifname "out0" goto filter_FWD_public\n', "")}
chain filter_FWDNONE {
}
chain filter_INPUT {
type filter hook input priority filter + 10; policy accept;
ct state { established, related } accept
ct status dnat accept
iifname "lo" accept
ct state vmap { invalid : drop }
jump filter_INPUT_ZONES
reject with icmpx admin-prohibited
}
chain filter_FORWARD {
type filter hook forward priority filter + 10; policy accept;
ct state { established, related } accept
ct status dnat accept
iifname "lo" accept
ct state vmap { invalid : drop }
ip6 daddr { ::/96, ::ffff:0.0.0.0/96, 2002::/24 } reject with icmpv6 addr-unreachable
jump filter_FORWARD_ZONES
reject with icmpx admin-prohibited
}
}
`)
}

const FIREWALLS: readonly [string, () => unknown, readonly string[], string?][] = [
  ["Docker by iptables-nft", docker("iptables-nft"), ["out", "in"], "iptables-nft -I DOCKER-USER -i bgr0 -j ACCEPT"],
  ["Docker by iptables-legacy", docker("iptables-legacy"), ["out", "in"], "iptables-legacy -I DOCKER-USER -i bgr0"],
  [
    "a DROP before Docker's chain",
    () => {
      docker("iptables-nft")()
      lines("iptables-nft", "-I FORWARD -j DROP")()
    },
    ["out", "in"],
    "iptables-nft -I FORWARD -i bgr0",
  ],
  ["firewalld", firewalld(), ["out", "here"], "firewall-cmd --zone=trusted --change-interface=bgr0"],
  ["firewalld, and the bridge trusted", firewalld("bgr0"), []],
  [
    "ufw",
    lines(
      "iptables-nft",
      "-P FORWARD DROP",
      "-P INPUT DROP",
      "-N ufw-before-forward",
      "-N ufw-user-forward",
      "-A FORWARD -j ufw-before-forward",
      "-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
      "-A ufw-before-forward -j ufw-user-forward",
      "-A INPUT -i lo -j ACCEPT",
      "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ),
    ["out", "in", "here"],
    "ufw route allow in on bgr0 && ufw route allow out on bgr0",
  ],
  [
    "a policy at another priority",
    forward("ip", "mine", "ct state established,related accept", "priority 55; policy drop;"),
    ["out", "in"],
    "nft 'insert rule ip mine forward iifname",
  ],
  [
    "a reject at the end",
    forward("inet", "mine", 'ct state established,related accept\niifname "eth7" accept\nreject'),
    ["out", "in"],
  ],
  ["a verdict map", forward("inet", "mine", 'iifname vmap { "bgr0" : drop, "out0" : accept }'), ["out", "in"]],
  ["what goes in only", forward("inet", "mine", 'iifname "out0" oifname "bgr*" ct state new drop'), ["in"], "oifname"],
  [
    "a jump to a chain that drops",
    nft(
      "table inet mine {\nchain no {\nmeta l4proto { tcp, udp, icmp } drop\n}\nchain forward {\ntype filter hook forward priority -5; policy accept;\nip saddr 10.0.0.0/8 ct state new jump no\n}\n}\n",
    ),
    ["out"],
  ],
  [
    "before routing, of all that is new",
    forward("inet", "mine", 'iifname "bgr0" ct state new drop', "priority -150; policy accept;", "prerouting"),
    ["out", "here"],
  ],
  ["raw of iptables", lines("iptables-nft", "-t raw -A PREROUTING -i bgr+ ! -d 10.213.0.0/16 -j DROP"), ["out", "in"]],
  [
    "mangle of the old iptables",
    lines("iptables-legacy", "-t mangle -A FORWARD -s 10.213.0.0/16 ! -d 10.0.0.0/8 -j DROP"),
    ["out", "in"],
  ],
  [
    "after routing",
    forward("inet", "mine", 'oifname "bgr0" ct state new drop', "priority 300; policy accept;", "postrouting"),
    ["in"],
  ],
  [
    "answers of this host",
    forward("inet", "mine", 'oifname "bgr0" drop', "priority 0; policy accept;", "output"),
    ["here"],
  ],
  [
    "input alone",
    forward(
      "inet",
      "mine",
      'iif lo accept\nct state established,related accept\niifname "out0" accept',
      "priority 0; policy drop;",
      "input",
    ),
    ["here"],
    "nft 'insert rule inet mine forward iifname",
  ],
  [
    "guests may ask for names and surf",
    forward(
      "inet",
      "mine",
      'ct state established,related accept\nct status dnat accept\niifname "bgr0" tcp dport { 80, 443 } accept\niifname "bgr0" udp dport 53 accept',
      "priority 0; policy drop;",
    ),
    [],
  ],
  [
    "the bridge by a set of names",
    forward(
      "inet",
      "mine",
      'ct state established,related accept\niifname { "bgr0", "virbr0" } accept\noifname { "bgr0", "virbr0" } accept',
      "priority 0; policy drop;",
    ),
    [],
  ],
  [
    "the subnet",
    forward(
      "ip",
      "mine",
      "ct state established,related accept\nip saddr 10.213.0.0/16 accept\nip daddr 10.213.0.0/16 accept",
      "priority 0; policy drop;",
    ),
    [],
  ],
  [
    "both sides of the way",
    forward(
      "inet",
      "mine",
      'ct state established,related accept\niifname . oifname { "bgr0" . "out0", "out0" . "bgr0" } accept',
      "priority 0; policy drop;",
    ),
    [],
  ],
  [
    "a policy behind a return",
    nft(
      'table inet mine {\nchain maybe {\niifname "bgr0" return\naccept\n}\nchain forward {\ntype filter hook forward priority 0; policy drop;\nct state established,related accept\noifname "bgr0" accept\njump maybe\n}\n}\n',
    ),
    ["out"],
  ],
  [
    "what cannot be told may pass",
    forward(
      "inet",
      "mine",
      "ct state established,related accept\nmeta random < 2147483648 accept\nmeta hour 00:00-23:59 accept",
      "priority 0; policy drop;",
    ),
    [],
  ],
]

// A row that is shorter than what takes it would be taken for a test with a callback.
test.each(FIREWALLS.map(([what, ...rest]) => [what, rest] as const))(
  "what is told of %s is what becomes of packets, and the command that is told mends it",
  async (what, [write, ways, mend]) => {
    const network = { ports: ["8080:80"] }
    drive("connect", "a-aaaaaaaa", network)
    const guest = await beGuest()
    try {
      expect(await shut(guest)).toEqual([])
      write()
      const found = blockers()
      // Where it cannot be told, nothing is said.
      if (ways.length > 0 || !what.startsWith("what cannot")) expect(await shut(guest)).toEqual([...ways])
      expect([...new Set<string>(found.flatMap((one) => one.ways))].sort()).toEqual([...ways].sort())
      if (found.length > 0) expect(found.map((one) => one.mend).join("; ")).toContain(mend ?? "bgr0")
      // ufw and firewalld are not here to be asked.
      if (found.length === 0 || found.some(({ whose }) => whose === "ufw" || whose === "firewalld")) return
      for (const one of found) must("sh", "-c", one.mend)
      expect(blockers()).toEqual([])
      expect(await shut(guest)).toEqual([])
    } finally {
      await guest.close()
      drive("release", "a-aaaaaaaa", network)
    }
  },
)

/** A machine on the bridge that has the lease of the VM that is there, and a server. */
async function beGuest(): Promise<Outside> {
  const line = must("ip", "neighbour", "show", "dev", "bgr0", "nud", "permanent")
  // In the place of the tap: of other ports of the bridge nothing is let through.
  must("ip", "link", "delete", "bgraaaaaaaa")
  const guest = await makeOutside({ link: "bgraaaaaaaa", here: undefined, there: "10.213.0.2/16" })
  for (const words of [`link set eth0 address ${/lladdr (\S+)/.exec(line)?.[1]}`, "route add default via 10.213.0.1"])
    expect(guest.run("ip", ...words.split(" "))).toMatchObject({ exit: 0 })
  must("ip", "link", "set", "bgraaaaaaaa", "master", "bgr0")
  // The first frames of a port are lost.
  await until(() => guest.run("busybox", "ping", "-c", "1", "-W", "1", "10.213.0.1").exit === 0)
  await guest.start(process.execPath, "-e", SERVE).stdout.getReader().read()
  return guest
}

test("by IPv6 others' rules are told of apart, with what mends them", () => {
  const six: Guest = { ...GUEST, family: "ip6", address: "fd00::2", gateway: "fd00::1", ports: [] }
  lines("ip6tables-nft", "-P FORWARD DROP", "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT")()
  lines("ip6tables-legacy", "-A FORWARD -s fd00::/8 -j REJECT")()
  expect(blockers()).toEqual([])
  const found = blockers(six)
  expect(found.map(({ chain }) => chain).sort()).toEqual([
    "ip6 filter FORWARD (ip6tables-legacy)",
    "ip6 filter FORWARD (ip6tables-nft)",
  ])
  for (const { mend } of found) must("sh", "-c", mend)
  expect(blockers(six)).toEqual([])
})

test.each([
  [
    "nft",
    nft(
      "table ip theirs {\nchain in {\ntype nat hook prerouting priority -90; policy accept;\ntcp dport 8080 dnat to 192.0.2.2:80\n}\n}\n",
    ),
    "table ip theirs",
  ],
  [
    "Docker by iptables-nft",
    lines(
      "iptables-nft",
      "-t nat -N DOCKER",
      "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
      "-t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
    ),
    "table ip nat",
  ],
  [
    "the old iptables",
    lines("iptables-legacy", "-t nat -A PREROUTING -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 81"),
    "iptables-legacy",
  ],
] as const)("a port that the rules of %s forward too is told of by a run and by net check", async (_, write, by) => {
  write()
  const network = { ports: ["8080:80", "8081:80", "8080:80/udp"] }
  const { stderr } = await runDouble(place, doubles, ["--detach", "--name", "walled"], "PRINT[up]", { network })
  const told = stderr.split("\n").filter((line) => line.includes("forwarded by the rules of others"))
  expect(told).toEqual([expect.stringContaining(`the port 8080/tcp is forwarded by the rules of others too (${by}`)])
  expect((await banger(place, ["net", "check", "--to", "192.0.2.2"])).stdout).toContain(
    told[0]?.split("walled: ")[1]?.trim() ?? "?",
  )
  expect((await banger(place, ["stop", "walled"])).exit).toBe(0)
  sh("iptables-legacy", "-t", "nat", "-F")
})

test("a run says it in one line each, doctor with what mends it, and net check goes on after what it finds first", async () => {
  firewalld()()
  docker("iptables-nft")()
  const { stderr } = await runDouble(place, doubles, ["--detach", "--name", "walled"], "PRINT[up]", { network: true })
  const told = stderr.split("\n").filter((line) => line.includes("refuses"))
  expect(told).toEqual([
    expect.stringMatching(
      /firewalld's chain inet firewalld filter_INPUT refuses what the guest sends to this host itself/,
    ),
    expect.stringMatching(
      /firewalld's chain inet firewalld filter_FORWARD refuses what is forwarded.*run: firewall-cmd --zone=trusted --change-interface=bgr0 &&/,
    ),
    expect.stringMatching(
      /Docker's chain ip filter FORWARD \(iptables-nft\) refuses what is forwarded.*run: iptables-nft -I DOCKER-USER -i bgr0/,
    ),
  ])
  const { checks } = JSON.parse((await banger(place, ["doctor", "--json"])).stdout)
  const found = (id: string) => checks.find((one: { id: string }) => one.id === id)
  expect(found("forward-policy")).toMatchObject({
    is: "warn",
    says: expect.stringContaining("firewalld's and Docker's rules refuse what VMs send beyond this host"),
    hint: expect.stringContaining("iptables-nft -I DOCKER-USER -i bgr+ -j ACCEPT"),
  })
  expect(found("host-policy")).toMatchObject({ is: "warn", hint: expect.stringContaining("--change-interface=bgr0") })
  const { stdout, exit } = await banger(place, ["net", "check", "--to", "192.0.2.2"])
  expect(exit).toBe(1)
  expect(stdout).toMatch(
    /^FAIL {2}a guest reaches the host at 10\.213\.0\.1: firewalld's chain inet firewalld filter_INPUT/m,
  )
  expect(stdout).toMatch(/^FAIL {2}the host's rules let them be forwarded: .*firewalld's chain .*Docker's chain/m)
  expect((await banger(place, ["stop", "walled"])).exit).toBe(0)
  expect(noted(place, "ended")).toHaveLength(1)
})
