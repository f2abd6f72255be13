import { any, isNamed, isWithin, type Met, not, type Packet } from "./packet.ts"
import type { Chain, Hook, Rule, Table, Verdict } from "./ruleset.ts"

/** The tables in what `iptables-save` or `ip6tables-save` prints, but those that translate addresses. Pure. */
export function parseIptables(saved: string, family: "ip" | "ip6", program: string): readonly Table[] {
  const parts = saved.split(/^\*/m).slice(1)
  return parts.flatMap((part) => {
    const [name = "", ...lines] = part.split("\n")
    return name === "nat" ? [] : [{ family, name, program, chains: chainsOf(lines) }]
  })
}

// --- internal ---

const HOOKS: Readonly<Record<string, Hook>> = {
  PREROUTING: "prerouting",
  INPUT: "input",
  FORWARD: "forward",
  OUTPUT: "output",
  POSTROUTING: "postrouting",
}

function chainsOf(lines: readonly string[]): ReadonlyMap<string, Chain> {
  const chains = new Map<string, Omit<Chain, "rules"> & { readonly rules: Rule[] }>()
  for (const line of lines) {
    const [, name = "", policy] = /^:(\S+) (\S+)/.exec(line) ?? []
    if (policy !== undefined)
      chains.set(name, { name, hook: HOOKS[name], policy: policy === "DROP" ? "refuse" : "accept", rules: [] })
    const [, of = "", words = ""] = /^(?:\[\d+:\d+\] )?-A (\S+) ?(.*)$/.exec(line) ?? []
    if (of !== "") chains.get(of)?.rules.push(parseRule(wordsOf(words), chains))
  }
  return chains
}

/** The words of a rule; what has spaces stands in quotes. */
function wordsOf(text: string): readonly string[] {
  const found = text.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)
  return [...found].map(([, quoted, plain = ""]) => quoted?.replaceAll(/\\(.)/g, "$1") ?? plain)
}

type Test = (packet: Packet) => Met

/** Targets after which a packet's way through the chain has ended, and it goes on. */
const ENDS = ["ACCEPT", "SNAT", "DNAT", "MASQUERADE", "REDIRECT", "NETMAP"]

function parseRule(words: readonly string[], chains: ReadonlyMap<string, unknown>): Rule {
  const tests: Test[] = []
  for (let at = 0; at < words.length; ) {
    const negated = words[at] === "!"
    if (negated) at++
    const option = words[at++] ?? ""
    if (option === "-j" || option === "-g" || option === "--jump" || option === "--goto") {
      const verdict = verdictOf(words[at] ?? "", option, chains)
      return { cases: [{ tests, verdict }] }
    }
    const from = at
    while (at < words.length && words[at] !== "!" && !words[at]?.startsWith("-")) at++
    const values = words.slice(from, at)
    const test = testOf(option, values)
    tests.push(negated ? (packet) => not(test(packet)) : test)
  }
  return { cases: [{ tests, verdict: { does: "nothing" } }] }
}

function verdictOf(target: string, option: string, chains: ReadonlyMap<string, unknown>): Verdict {
  if (chains.has(target)) return { does: option === "-g" || option === "--goto" ? "goto" : "jump", target }
  if (ENDS.includes(target)) return { does: "accept" }
  if (target === "DROP" || target === "REJECT") return { does: "refuse" }
  if (target === "RETURN") return { does: "return" }
  return { does: ["QUEUE", "NFQUEUE", "TPROXY", "SYNPROXY"].includes(target) ? "unknown" : "nothing" }
}

/** Options that come with their value, and what a packet has of each. */
function testOf(option: string, values: readonly string[]): Test {
  const [value = ""] = values
  const list = value.split(",")
  switch (option) {
    case "-m":
    case "--comment":
      return () => true
    case "-i":
      return ({ iif }) => iif !== undefined && isNamed(iif, value)
    case "-o":
      return ({ oif }) => oif !== undefined && isNamed(oif, value)
    case "-s":
      return ({ source }) => any(list.map((one) => isWithin(source, one)))
    case "-d":
      return ({ destination }) => any(list.map((one) => isWithin(destination, one)))
    case "-p":
      return ({ protocol, family }) => isProtocol(value, protocol, family)
    case "--dport":
    case "--dports":
    case "--destination-port":
    case "--destination-ports":
      return ({ port }) => port !== undefined && list.some((one) => isInPorts(port, one))
    case "--ctstate":
    case "--state":
      return ({ dnat, state }) => list.includes(state.toUpperCase()) || (dnat && list.includes("DNAT"))
    case "--ctstatus":
      return ({ dnat }) => (dnat ? list.includes("DNAT") : list.includes("NONE"))
    case "--dst-type":
      return ({ local }) => list.includes(local ? "LOCAL" : "UNICAST")
    case "--src-type":
      return () => list.includes("UNICAST")
    case "--mark":
      return () => isUnmarked(value)
    case "--pkt-type":
      return () => value === "unicast" || value === "host"
    case "--icmp-type":
    case "--icmpv6-type":
      return () => /^(?:8|128|any|echo-request)$/.test(value)
    // What is routed was bridged by nobody.
    case "--physdev-is-bridged":
      return () => false
    default:
      return () => undefined
  }
}

function isProtocol(word: string, protocol: Packet["protocol"], family: Packet["family"]): boolean {
  if (protocol === "icmp")
    return (family === "ip" ? ["icmp", "1"] : ["ipv6-icmp", "icmpv6", "58"]).includes(word) || word === "all"
  return word === "all" || word === protocol || word === (protocol === "tcp" ? "6" : "17")
}

function isInPorts(port: number, word: string): boolean {
  const [first = "", last = first] = word.split(":")
  return Number(first === "" ? 0 : first) <= port && port <= Number(last === "" ? 65_535 : last)
}

/** Whether a packet that nothing has marked has a mark; its bits outside the mask do not count. */
function isUnmarked(word: string): Met {
  const [value = ""] = word.split("/")
  const number = Number(value)
  return Number.isNaN(number) ? undefined : number === 0
}
