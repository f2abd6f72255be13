import { expect, test } from "bun:test"
import { findBlockers, type Guest, sayBlocker } from "../../../src/host/firewall/blockers.ts"
import { parseIptables } from "../../../src/host/firewall/iptablesRules.ts"
import { isNamed, isWithin } from "../../../src/host/firewall/packet.ts"

// What real rules do is tried in test/system/network.firewalls: here is what needs no kernel.

const GUEST: Guest = {
  bridge: "bgr0",
  named: "bgr0",
  address: "10.213.0.2",
  gateway: "10.213.0.1",
  family: "ip",
  uplink: "eth0",
  ports: [],
}

test("the old iptables is asked only where it has a table, and nobody where nobody is there", () => {
  const asked: string[] = []
  const look = (tables: string | undefined, programs: readonly string[]) => ({
    read: (path: string) => (path === "/proc/net/ip_tables_names" ? tables : undefined),
    run([name = ""]: readonly string[]) {
      asked.push(name)
      if (!programs.includes(name)) return undefined
      return { exit: 0, stdout: name === "nft" ? '{"nftables": []}' : "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n" }
    },
  })
  expect(findBlockers(look(undefined, ["nft", "iptables-save"]), [GUEST])).toEqual([])
  expect(asked).toEqual(["nft"])
  expect(findBlockers(look("filter\n", ["iptables-save"]), [GUEST])).toMatchObject([
    {
      chain: "ip filter FORWARD (iptables)",
      ways: ["out"],
      mend: expect.stringContaining("iptables -I FORWARD -i bgr0"),
    },
  ])
  expect(findBlockers(look("filter\n", []), [GUEST])).toBeUndefined()
})

test("where one that knows rules does not answer, nothing is said to be well; what another refuses is told all the same", () => {
  const xt = {
    rule: { family: "ip", table: "filter", chain: "FORWARD", expr: [{ xt: { type: "match", name: "set" } }] },
  }
  const listed = (rules: readonly object[]) => ({ exit: 0, stdout: JSON.stringify({ nftables: rules }) })
  const open = { exit: 0, stdout: "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n" }
  const shut = { exit: 0, stdout: "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n" }
  const failed = { exit: 1, stdout: "" }
  const blockers = (legacy: string, answers: Readonly<Record<string, { exit: number; stdout: string }>>) =>
    findBlockers({ read: () => legacy, run: ([name = ""]) => answers[name] }, [GUEST])
  expect(blockers("", { nft: failed })).toBeUndefined()
  expect(blockers("filter\n", { nft: listed([]) })).toBeUndefined()
  expect(blockers("filter\n", { nft: listed([]), "iptables-legacy-save": failed })).toBeUndefined()
  expect(blockers("", { nft: listed([xt]) })).toBeUndefined()
  expect(blockers("", { nft: listed([xt]), "iptables-nft-save": open })).toEqual([])
  expect(blockers("filter\n", { nft: failed, "iptables-legacy-save": shut })).toHaveLength(1)
})

test("a table of others whose name begins as banger's is looked at", () => {
  const shut = (name: string) => [
    { table: { family: "inet", name } },
    { chain: { family: "inet", table: name, name: "f", hook: "forward", policy: "drop" } },
  ]
  const run = () => ({ exit: 0, stdout: JSON.stringify({ nftables: ["banger", "banger-fw"].flatMap(shut) }) })
  expect(findBlockers({ read: () => undefined, run }, [GUEST])).toMatchObject([{ chain: "inet banger-fw f" }])
})

test.each([
  ["-i bgr+", true],
  ["-i br0+", false],
  ["! -i docker0", true],
  ["-i eth0", false],
  ["-s 10.213.0.0/255.255.0.0", true],
  ["! -s 10.213.0.0/16", false],
  ["-d 192.168.0.0/16,172.16.0.0/12", false],
  ["-p tcp -m multiport --dports 22,443", true],
  ["-p tcp -m multiport --dports 22,9000:", false],
  ["-p 17 --dport :53", true],
  ['-m comment --comment "a \\"b\\" -j ACCEPT"', true],
  ["-m conntrack --ctstate RELATED,ESTABLISHED", false],
  ["-m conntrack ! --ctstate INVALID", true],
  ["-m mark --mark 0x1/0xff", false],
  ["-m mark ! --mark 0x1", true],
  ["-m addrtype --dst-type LOCAL", false],
  ["-m physdev --physdev-is-bridged", false],
  ["-m pkttype --pkt-type broadcast", false],
  // What cannot be told may be met: then nothing is said.
  ["-m set --match-set friends src", true],
  ["-m owner --uid-owner 0", true],
  ["-m time --timestart 10:00", true],
])("rules behind a rule of iptables that accepts %p: let through: %p", (words, passes) => {
  const saved = `*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n-A FORWARD -m state --state ESTABLISHED -j ACCEPT\n[1:2] -A FORWARD ${words} -j ACCEPT\nCOMMIT\n`
  const look = { read: () => "filter\n", run: () => ({ exit: 0, stdout: saved }) }
  const legacy = { ...look, run: ([name = ""]: readonly string[]) => (name === "nft" ? undefined : look.run()) }
  const found = findBlockers({ ...legacy, read: (path) => (path.includes("ip6") ? undefined : "filter\n") }, [GUEST])
  expect(found?.length).toBe(passes ? 0 : 1)
})

test("chains that jump in circles end", () => {
  const saved = "*filter\n:FORWARD DROP [0:0]\n:a - [0:0]\n:b - [0:0]\n-A FORWARD -j a\n-A a -j b\n-A b -j a\nCOMMIT\n"
  const look = (text: string) => ({
    read: (path: string) => (path.includes("ip6") ? undefined : "filter\n"),
    run: ([name = ""]: readonly string[]) => (name === "nft" ? undefined : { exit: 0, stdout: text }),
  })
  expect(findBlockers(look(saved), [GUEST])).toEqual([])
})

test("tables that translate are left out, quotes are read, and words of one line say what is shut", () => {
  const saved =
    '*nat\n:PREROUTING DROP [0:0]\nCOMMIT\n*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i "bgr0" -j DROP\nCOMMIT\n'
  expect(parseIptables(saved, "ip", "iptables").map(({ name }) => name)).toEqual(["raw"])
  const said = (ways: readonly ("out" | "in" | "here")[], more = {}) =>
    sayBlocker({ chain: "inet f x", ways, whose: undefined, family: "ip", mend: "mend it", ...more })
  expect(said(["out", "in"], { whose: "Docker" })).toBe(
    "Docker's chain inet f x refuses what is forwarded, so the guest reaches this host only; run: mend it",
  )
  expect(said(["in"], { family: "ip6" })).toContain("refuses what comes to the guest's ports by IPv6")
  expect(said(["here"])).toContain("refuses what the guest sends to this host itself")
})

test("names and networks are compared as rules do it", () => {
  for (const pattern of ["bgr0", "bgr*", "bgr+", "*", "+"]) expect(isNamed("bgr0", pattern), pattern).toBe(true)
  for (const pattern of ["bgr", "bgr1", "bgrx*"]) expect(isNamed("bgr0", pattern), pattern).toBe(false)
  const within = [
    ["10.213.0.2", "10.213.0.0/16", true],
    ["10.213.0.2", "10.213.0.2", true],
    ["10.213.0.2", "10.213.0.0/255.255.255.254", false],
    ["10.213.0.2", "::/0", false],
    ["fd00::1", "fd00::/8", true],
    ["fd00::1", "fd00:0::0:1", true],
    ["::ffff:10.0.0.1", "::ffff:0:0/96", true],
    ["10.213.0.2", "somewhere", undefined],
  ] as const
  for (const [address, network, is] of within) expect(isWithin(address, network), network).toBe(is)
})
