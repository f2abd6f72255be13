import { type Address, inPrefix, parseEither } from "./addresses.ts"

// The room firewall: rules of others on this host, and what they refuse of what VMs send and get.
// The rule: only what is refused for certain is told of. A test that cannot be told counts as met and as not met.

/** What a chain keeps from going: out to the world, in by a port, to this host itself. */
export type Way = "out" | "in" | "here"

/** A packet as rules see it. */
export interface Packet {
  readonly family: "ip" | "ip6"
  /** The interface it came in by; undefined: of this host itself. */
  readonly iif: string | undefined
  /** The one that it goes out by; undefined: none yet, or it is for this host. */
  readonly oif: string | undefined
  readonly source: string
  readonly destination: string
  readonly protocol: "tcp" | "udp" | "icmp"
  /** Where it is sent to; of `icmp` none. */
  readonly port: number | undefined
  /** `new`: the first of its connection. */
  readonly state: "new" | "established"
  /** Whether its destination was translated. */
  readonly dnat: boolean
  /** Whether its destination is this host. */
  readonly local: boolean
}

/** What a packet has of something: a value, or several flags; undefined: it cannot be told; null: it has no such thing. */
export type Fact = string | number | readonly string[] | undefined | null

/** Whether a test is met; undefined: it cannot be told. */
export type Met = boolean | undefined

/** Whether a test is not met. Pure. */
export function not(met: Met): Met {
  return met === undefined ? undefined : !met
}

/** Whether all of some tests are met. Pure. */
export function all(tests: readonly Met[]): Met {
  if (tests.includes(false)) return false
  return tests.includes(undefined) ? undefined : true
}

/** Whether any of some tests is met. Pure. */
export function any(tests: readonly Met[]): Met {
  return not(all(tests.map(not)))
}

/** Whether an interface's name is meant by a pattern, in nft's (`"bgr*"`) or iptables' words (`bgr+`). Pure. */
export function isNamed(name: string, pattern: string): boolean {
  return /[*+]$/.test(pattern) ? name.startsWith(pattern.slice(0, -1)) : name === pattern
}

/** Whether an address is in a network, `10.0.0.0/8`, or is it. Pure; undefined where one cannot be read. */
export function isWithin(address: string, network: string): Met {
  const [base = "", bits] = network.split("/")
  const [one, other] = [parseEither(address), parseEither(base)]
  if (one === undefined || other === undefined) return undefined
  if (one.length !== other.length) return false
  const prefix = prefixOf(bits, one)
  return prefix === undefined ? undefined : inPrefix(one, other, prefix)
}

// --- internal ---

/** Of a count of bits, or of a netmask. */
function prefixOf(bits: string | undefined, address: Address): number | undefined {
  if (bits === undefined) return address.length * 8
  if (/^\d{1,3}$/.test(bits)) return Number(bits)
  const mask = parseEither(bits)
  if (mask === undefined) return undefined
  const ones = [...mask].map((byte) => byte.toString(2).padStart(8, "0")).join("")
  return /^1*0*$/.test(ones) ? ones.lastIndexOf("1") + 1 : undefined
}
