import { all, type Met, type Packet } from "./packet.ts"

/** What a rule does with a packet that meets its tests. `unknown`: it may do anything. */
export type Verdict =
  | { readonly does: "accept" | "refuse" | "return" | "unknown" | "nothing" }
  | { readonly does: "jump" | "goto"; readonly target: string }

/** One rule: several verdicts where each has tests of its own (a verdict map). */
export interface Rule {
  readonly cases: readonly { readonly tests: readonly ((packet: Packet) => Met)[]; readonly verdict: Verdict }[]
}

export type Hook = "prerouting" | "input" | "forward" | "output" | "postrouting"

/** A chain of a table; those that packets come to by themselves have a hook. */
export interface Chain {
  readonly name: string
  readonly hook: Hook | undefined
  /** What becomes of a packet at its end. */
  readonly policy: "accept" | "refuse"
  readonly rules: readonly Rule[]
}

/** A table of rules, and what it was read by, which is what changes it. */
export interface Table {
  readonly family: "ip" | "ip6" | "inet"
  readonly name: string
  /** `nft`, or a form of iptables. */
  readonly program: string
  readonly chains: ReadonlyMap<string, Chain>
}

/** Whether a table is one of banger's, of whatever owner, by its name; no other one is left out for beginning as theirs do. Pure. */
export function isOfBanger(table: string): boolean {
  return /^banger(?:_[0-9a-f]{8})?(?:_ports)?$|^banger_check$/.test(table)
}

/** Whether a chain refuses a packet for certain. Pure. */
export function refuses({ family, chains }: Table, chain: Chain, packet: Packet): boolean {
  if (family !== "inet" && family !== packet.family) return false
  const walk = { chains, packet, mayPass: false, left: STEPS_MAX_COUNT }
  const end = follow(walk, chain, 0)
  return (end === "falls" ? chain.policy : end) === "refuse" && !walk.mayPass
}

/** A table with a rule before all others of a chain that accepts every packet. Pure. */
export function withAccept(table: Table, name: string): Table {
  const chain = table.chains.get(name)
  if (chain === undefined) return table
  const rule: Rule = { cases: [{ tests: [], verdict: { does: "accept" } }] }
  return { ...table, chains: new Map([...table.chains, [name, { ...chain, rules: [rule, ...chain.rules] }]]) }
}

// --- internal ---

/** A kernel takes no deeper jumps. */
const DEPTH_MAX_COUNT = 16
const STEPS_MAX_COUNT = 200_000

interface Walk {
  readonly chains: ReadonlyMap<string, Chain>
  readonly packet: Packet
  /** Whether a rule that cannot be told about may have let the packet pass. */
  mayPass: boolean
  /** How many rules may still be looked at. */
  left: number
}

/** How a chain ends for a packet. What it may do besides is noted. */
function follow(walk: Walk, { rules }: Chain, depth: number): "accept" | "refuse" | "falls" {
  for (const { cases } of rules) {
    for (const { tests, verdict } of cases) {
      if (walk.left-- <= 0 || depth > DEPTH_MAX_COUNT) {
        walk.mayPass = true
        return "falls"
      }
      const met = all(tests.map((test) => test(walk.packet)))
      if (met === false || verdict.does === "nothing") continue
      const end = outcome(walk, verdict, depth)
      if (met === undefined) {
        // It may be met: what passes by it may pass, what returns by it may pass behind this chain.
        if (end === "accept" || end === "ends") walk.mayPass = true
        continue
      }
      if (end === "ends") return "falls"
      if (end !== "falls") return end
    }
  }
  return "falls"
}

/** `ends`: the packet goes on behind this chain. */
function outcome(walk: Walk, verdict: Verdict, depth: number): "accept" | "refuse" | "falls" | "ends" {
  if (verdict.does === "accept" || verdict.does === "refuse") return verdict.does
  if (verdict.does === "return") return "ends"
  if (verdict.does === "unknown") walk.mayPass = true
  if (verdict.does !== "jump" && verdict.does !== "goto") return "falls"
  const target = walk.chains.get(verdict.target)
  if (target === undefined) {
    walk.mayPass = true
    return "falls"
  }
  const end = follow(walk, target, depth + 1)
  return end === "falls" && verdict.does === "goto" ? "ends" : end
}
