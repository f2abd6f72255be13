import * as v from "valibot"
import { isBetween, parseEither } from "./addresses.ts"
import { any, type Fact, isNamed, isWithin, type Met, not, type Packet } from "./packet.ts"
import { type Chain, type Hook, isOfBanger, type Rule, type Table, type Verdict } from "./ruleset.ts"

/**
 * The tables of `nft -j list ruleset` (libnftables-json(5)) that what is routed passes, but banger's own. Throws where the text is
 * none. A table that iptables made may have rules that nft cannot tell of: those are read as unknown. Pure.
 */
export function parseNftRuleset(text: string): readonly Table[] {
  const { nftables } = v.parse(rulesetSchema, JSON.parse(text))
  const tables = new Map<string, { family: Table["family"]; name: string; chains: Map<string, MutableChain> }>()
  const key = (family: string, table: string) => `${family} ${table}`
  for (const { table, chain, rule } of nftables) {
    const family = FAMILIES.find((one) => one === (table ?? chain ?? rule)?.family)
    if (family === undefined) continue
    if (table !== undefined && !isOfBanger(table.name))
      tables.set(key(family, table.name), { family, name: table.name, chains: new Map() })
    if (chain !== undefined) {
      const hook = HOOKS.find((one) => one === chain.hook)
      const policy = chain.policy === "drop" ? "refuse" : "accept"
      tables.get(key(family, chain.table))?.chains.set(chain.name, { name: chain.name, hook, policy, rules: [] })
    }
    if (rule !== undefined)
      tables.get(key(family, rule.table))?.chains.get(rule.chain)?.rules.push(parseRule(rule.expr))
  }
  return [...tables.values()].map((table) => ({ ...table, program: "nft" }))
}

/** Which of a ruleset's tables have rules that only iptables can tell of. Pure. */
export function opaqueTables(text: string): readonly { readonly family: string; readonly name: string }[] {
  const { nftables } = v.parse(rulesetSchema, JSON.parse(text))
  const rules = nftables.flatMap(({ rule }) => rule ?? []).filter(({ expr }) => expr.some((each) => "xt" in each))
  return rules.map(({ family, table }) => ({ family, name: table }))
}

// --- internal ---

type MutableChain = Omit<Chain, "rules"> & { readonly rules: Rule[] }

const FAMILIES = ["ip", "ip6", "inet"] as const
const HOOKS: readonly Hook[] = ["prerouting", "input", "forward", "output", "postrouting"]

const text = v.string()
const rulesetSchema = v.object({
  nftables: v.array(
    v.object({
      table: v.optional(v.object({ family: text, name: text })),
      chain: v.optional(
        v.object({ family: text, table: text, name: text, hook: v.optional(text), policy: v.optional(text) }),
      ),
      rule: v.optional(
        v.object({ family: text, table: text, chain: text, expr: v.array(v.record(text, v.unknown())) }),
      ),
    }),
  ),
})

const matchSchema = v.object({ op: text, left: v.unknown(), right: v.unknown() })
const vmapSchema = v.object({
  key: v.unknown(),
  data: v.object({ set: v.array(v.tuple([v.unknown(), v.record(text, v.unknown())])) }),
})
const targetSchema = v.object({ target: text })
/** Statements that change or note something, and let the next one of their rule have its turn. */
const WITHOUT_EFFECT = [
  "counter",
  "log",
  "mangle",
  "notrack",
  "ct helper",
  "ct timeout",
  "ct expectation",
  "flow",
  "dup",
]
/** Statements of chains that translate addresses: they end the chain, and the packet goes on. */
const TRANSLATES = ["snat", "dnat", "masquerade", "redirect"]
/** Targets and matches of iptables in its own words, which have no effect here. */
const XT_WITHOUT_EFFECT = ["comment", "LOG", "NFLOG", "MARK", "CONNMARK", "TCPMSS", "CHECKSUM", "TRACE"]

type Test = (packet: Packet) => Met

function parseRule(expr: readonly Readonly<Record<string, unknown>>[]): Rule {
  const tests: Test[] = []
  for (const statement of expr) {
    const [kind = "", value] = Object.entries(statement)[0] ?? []
    const verdict = verdictOf(kind, value)
    if (verdict !== undefined) return { cases: [{ tests, verdict }] }
    if (kind === "vmap") return { cases: casesOf(value, tests) }
    if (kind === "match") tests.push(parseMatch(value))
    else if (!hasNoEffect(kind, value)) tests.push(() => undefined)
  }
  return { cases: [{ tests, verdict: { does: "nothing" } }] }
}

function hasNoEffect(kind: string, value: unknown): boolean {
  if (kind !== "xt") return WITHOUT_EFFECT.includes(kind)
  const parsed = v.safeParse(v.object({ name: text }), value)
  return parsed.success && XT_WITHOUT_EFFECT.includes(parsed.output.name)
}

function verdictOf(kind: string, value: unknown): Verdict | undefined {
  if (kind === "accept" || TRANSLATES.includes(kind)) return { does: "accept" }
  if (kind === "drop" || kind === "reject") return { does: "refuse" }
  if (kind === "xt") {
    const parsed = v.safeParse(v.object({ type: v.literal("target"), name: text }), value)
    return parsed.success && parsed.output.name === "REJECT" ? { does: "refuse" } : undefined
  }
  if (kind === "return") return { does: "return" }
  if (kind === "queue" || kind === "tproxy" || kind === "fwd") return { does: "unknown" }
  if (kind !== "jump" && kind !== "goto") return undefined
  const parsed = v.safeParse(targetSchema, value)
  return parsed.success ? { does: kind, target: parsed.output.target } : { does: "unknown" }
}

function casesOf(value: unknown, tests: readonly Test[]): Rule["cases"] {
  const parsed = v.safeParse(vmapSchema, value)
  // A named map: its elements are not listed.
  if (!parsed.success) return [{ tests: [...tests, () => undefined], verdict: { does: "unknown" } }]
  const { key, data } = parsed.output
  return data.set.map(([pattern, verdict]) => {
    const [kind = "", of] = Object.entries(verdict)[0] ?? []
    const own: Test = (packet) => isMeant(factOf(key, packet), pattern)
    return { tests: [...tests, own], verdict: verdictOf(kind, of) ?? { does: "nothing" } }
  })
}

function parseMatch(value: unknown): Test {
  const parsed = v.safeParse(matchSchema, value)
  if (!parsed.success) return () => undefined
  const { op, left, right } = parsed.output
  return (packet) => {
    const fact = factOf(left, packet)
    // A packet that has no such thing does not meet the rule, however it is compared.
    if (fact === null) return false
    if (op === "==" || op === "in") return isMeant(fact, right)
    if (op === "!=") return not(isMeant(fact, right))
    if (typeof fact !== "number" || typeof right !== "number") return undefined
    if (op === "<") return fact < right
    if (op === ">") return fact > right
    return op === "<=" ? fact <= right : op === ">=" ? fact >= right : undefined
  }
}

/** Whether a fact is meant by the right side of a comparison. */
function isMeant(fact: Fact | readonly Fact[], right: unknown): Met {
  if (fact === null) return false
  if (fact === undefined) return undefined
  if (Array.isArray(right)) return any(right.map((one) => isMeant(fact, one)))
  if (typeof right === "string" && right.startsWith("@")) return undefined
  if (typeof right === "object" && right !== null) return isMeantBy(fact, right)
  if (Array.isArray(fact)) return fact.includes(right)
  if (right === "*") return true
  if (typeof fact === "number") return typeof right === "number" ? fact === right : undefined
  if (typeof right !== "string" || typeof fact !== "string") return undefined
  const [one, other] = [parseEither(fact), parseEither(right)]
  if (one !== undefined && other !== undefined) return Buffer.compare(one, other) === 0
  return isNamed(fact, right)
}

function isMeantBy(fact: Exclude<Fact, null | undefined> | readonly Fact[], right: object): Met {
  if ("set" in right && Array.isArray(right.set)) return any(right.set.map((one) => isMeant(fact, one)))
  if ("elem" in right && typeof right.elem === "object" && right.elem !== null && "val" in right.elem)
    return isMeant(fact, right.elem.val)
  if ("concat" in right && Array.isArray(right.concat)) return isConcat(fact, right.concat)
  if ("prefix" in right && typeof fact === "string") {
    const parsed = v.safeParse(v.object({ addr: text, len: v.number() }), right.prefix)
    return parsed.success ? isWithin(fact, `${parsed.output.addr}/${parsed.output.len}`) : undefined
  }
  if ("range" in right && Array.isArray(right.range)) return isInRange(fact, right.range)
  return undefined
}

function isConcat(fact: Exclude<Fact, null | undefined> | readonly Fact[], words: readonly unknown[]): Met {
  if (!Array.isArray(fact) || fact.length !== words.length) return undefined
  const parts = words.map((word, at) => isMeant(fact[at], word))
  return parts.includes(false) ? false : parts.includes(undefined) ? undefined : true
}

function isInRange(fact: unknown, [first, last]: readonly unknown[]): Met {
  if (typeof fact === "number" && typeof first === "number" && typeof last === "number")
    return first <= fact && fact <= last
  const [one, low, high] = [fact, first, last].map((each) => (typeof each === "string" ? parseEither(each) : undefined))
  return one && low && high ? isBetween(one, low, high) : undefined
}

/** What a packet has of the left side of a comparison. */
function factOf(left: unknown, packet: Packet): Fact | readonly Fact[] {
  if (typeof left !== "object" || left === null) return undefined
  const [kind = "", value] = Object.entries(left)[0] ?? []
  if (kind === "concat" && Array.isArray(value)) {
    const parts = value.map((one) => factOf(one, packet) as Fact)
    return parts.includes(null) ? null : parts
  }
  // Of a mark that nothing has set no bit is set.
  if (kind === "&" && Array.isArray(value)) {
    const fact = factOf(value[0], packet)
    return fact === null || fact === 0 ? fact : undefined
  }
  const parsed = v.safeParse(fieldsSchema, value)
  if (!parsed.success) return undefined
  const { key = "", protocol = "", field = "", result = "", flags = [] } = parsed.output
  if (kind === "meta") return metaOf(key, packet)
  if (kind === "ct") return trackedOf(key, packet)
  if (kind === "payload") return fieldOf(protocol, field, packet)
  if (kind === "fib" && result === "type" && flags.length === 1)
    return flags[0] === "daddr" ? (packet.local ? "local" : "unicast") : flags[0] === "saddr" ? "unicast" : undefined
  return undefined
}

const fieldsSchema = v.object({
  key: v.optional(text),
  protocol: v.optional(text),
  field: v.optional(text),
  result: v.optional(text),
  flags: v.optional(
    v.union([
      v.array(text),
      v.pipe(
        text,
        v.transform((one) => [one]),
      ),
    ]),
  ),
})

function metaOf(key: string, { iif, oif, family, protocol }: Packet): Fact {
  if (key === "iifname" || key === "iif") return iif ?? null
  if (key === "oifname" || key === "oif") return oif ?? null
  if (key === "nfproto") return family === "ip" ? "ipv4" : "ipv6"
  if (key === "protocol") return family
  if (key === "l4proto") return protocol === "icmp" && family === "ip6" ? "ipv6-icmp" : protocol
  if (key === "mark") return 0
  return key === "pkttype" ? "host" : undefined
}

function trackedOf(key: string, { dnat, state }: Packet): Fact {
  if (key === "state") return state
  if (key === "status") return dnat ? ["dnat"] : ["none"]
  if (key === "mark") return 0
  if (key === "direction") return state === "new" ? "original" : "reply"
  return undefined
}

function fieldOf(of: string, field: string, packet: Packet): Fact {
  const { family, protocol, port, source, destination } = packet
  if (of === "ip" || of === "ip6") {
    if (of !== family) return null
    if (field === "saddr") return source
    if (field === "daddr") return destination
    return field === "protocol" || field === "nexthdr" ? metaOf("l4proto", packet) : undefined
  }
  if (of === "icmp" || of === "icmpv6") {
    if (protocol !== "icmp" || (of === "icmp") !== (family === "ip")) return null
    return field === "type" ? "echo-request" : undefined
  }
  if (of !== "th" && of !== protocol) return ["tcp", "udp", "sctp", "dccp", "udplite"].includes(of) ? null : undefined
  return field === "dport" ? (port ?? null) : undefined
}
