import { parseIptables } from "./iptablesRules.ts"
import { mendOf } from "./mends.ts"
import { opaqueTables, parseNftRuleset } from "./nftRules.ts"
import type { Packet, Way } from "./packet.ts"
import { type Hook, refuses, type Table } from "./ruleset.ts"

/** What is read of a host's rules, and by what. */
export interface Look {
  /** Runs a program that only reports. Undefined when the program is missing. */
  run(argv: readonly string[]): { readonly exit: number | null; readonly stdout: string } | undefined
  /** A file's text; undefined when the file is missing. */
  read(path: string): string | undefined
}

/** Whose packets are looked at: those of a guest on a bridge. */
export interface Guest {
  readonly bridge: string
  /** How commands name the bridge: it, or all of banger's (`bgr*`). */
  readonly named: string
  readonly address: string
  readonly gateway: string
  readonly family: "ip" | "ip6"
  /** The interface of this host's way out; undefined where there is none that is known. */
  readonly uplink: string | undefined
  /** Ports that others reach the guest by. */
  readonly ports: readonly { readonly protocol: "tcp" | "udp"; readonly host: number; readonly guest: number }[]
}

/** A chain of another program that refuses packets of VMs, for certain. */
export interface Blocker {
  readonly chain: string
  readonly ways: readonly Way[]
  /** Whose chain it is, where that can be seen. */
  readonly whose: string | undefined
  readonly family: Guest["family"]
  /** The commands that let the bridge through. */
  readonly mend: string
}

/**
 * The chains of other programs that refuse what VMs send or are sent. No rule of banger's could help: to netfilter a drop is
 * final, and an accept counts in one chain only. Undefined when it cannot be told: neither nft nor iptables is there to ask, or one
 * of them does not answer and the others' rules refuse nothing.
 */
export function findBlockers(look: Look, guests: readonly Guest[]): readonly Blocker[] | undefined {
  const { tables, whole } = readTables(look)
  const found = tables.flatMap((table) => guests.flatMap((guest) => blockersIn(table, guest)))
  return found.length === 0 && !whole ? undefined : found
}

/** A blocker in words, with the remedy. Pure. */
export function sayBlocker({ chain, ways, whose, family, mend }: Blocker): string {
  const what = whose === undefined ? `the chain ${chain}` : `${whose}'s chain ${chain}`
  const by = family === "ip6" ? " by IPv6" : ""
  return `${what} refuses ${effectOf(ways, by)}; run: ${mend}`
}

/** Lists all rules of nft's, without the elements of sets, which may be very many. */
export const RULESET = ["nft", "-t", "-j", "list", "ruleset"] as const

// --- internal ---

/** The chains of a table that refuse what a guest sends or is sent. Pure. */
function blockersIn(table: Table, guest: Guest): readonly Blocker[] {
  const probes = probesOf(guest)
  return [...table.chains.values()].flatMap((chain) => {
    const { hook } = chain
    if (hook === undefined) return []
    const shut = (within: Table) => {
      const same = within.chains.get(chain.name)
      const isShut = ({ packets }: Probe) =>
        same !== undefined && packets(hook).some((one) => refuses(within, same, one))
      // A way is shut when nothing of it passes: a host may let its guests have some ports of the world only.
      return (["out", "in", "here"] as const).filter((way) => {
        const own = probes.filter((probe) => probe.way === way && probe.packets(hook).length > 0)
        return own.length > 0 && own.every(isShut)
      })
    }
    const ways = shut(table)
    if (ways.length === 0) return []
    const passes = (other: Table) => shut(other).length === 0
    const { whose, mend } = mendOf(table, chain, { ways, bridge: guest.bridge, named: guest.named, passes })
    const program = table.program === "nft" ? "" : ` (${table.program})`
    return [{ chain: `${table.family} ${table.name} ${chain.name}${program}`, ways, whose, family: guest.family, mend }]
  })
}

function effectOf(ways: readonly Way[], by: string): string {
  if (ways.includes("out")) return `what is forwarded${by}, so the guest reaches this host only`
  if (ways.includes("in")) return `what comes to the guest's ports${by}`
  return `what the guest sends to this host itself${by}`
}

/** Somewhere in the world: addresses for documentation (RFC 5737, RFC 3849). */
const WORLD = { ip: "198.51.100.1", ip6: "2001:db8::1" } as const

interface Probe {
  readonly way: Way
  /** The packet that opens a connection, and its answer, as they are when they come to a hook; undefined: they never do. */
  packets(hook: Hook): readonly Packet[]
}

/** Where a connection comes from. */
const CLIENT = { port: 40_000 } as const

function probesOf({ bridge, address, gateway, family, uplink = "banger-no-uplink", ports }: Guest): readonly Probe[] {
  const world = WORLD[family]
  const sent = [
    { protocol: "tcp", port: 443 },
    { protocol: "tcp", port: 80 },
    { protocol: "udp", port: 53 },
    { protocol: "icmp", port: undefined },
  ] as const
  const back = (port: number | undefined) => (port === undefined ? undefined : CLIENT.port)
  const opens = { family, state: "new", dnat: false, local: false } as const
  const answers = { ...opens, state: "established" } as const
  const fromGuest = { iif: bridge, oif: uplink, source: address, destination: world }
  const toGuest = { iif: uplink, oif: bridge, source: world, destination: address }
  // Before routing nothing has its way out yet.
  const before = { oif: undefined }
  return [
    ...sent.map(
      ({ protocol, port }): Probe => ({
        way: "out",
        packets(hook) {
          if (hook === "input" || hook === "output") return []
          const first = { ...opens, ...fromGuest, protocol, port }
          if (hook === "prerouting") return [{ ...first, ...before }]
          return [first, { ...answers, ...toGuest, protocol, port: back(port) }]
        },
      }),
    ),
    ...ports.map(
      ({ protocol, host, guest }): Probe => ({
        way: "in",
        packets(hook) {
          if (hook === "input" || hook === "output") return []
          const answer = { ...answers, ...fromGuest, protocol, port: CLIENT.port, dnat: true }
          // Which address of this host it was sent to cannot be told: rules about that are not met.
          const first = { ...opens, ...toGuest, protocol, port: host, destination: "", local: true }
          if (hook === "prerouting") return [first, answer].map((each) => ({ ...each, ...before }))
          return [{ ...opens, ...toGuest, protocol, port: guest, dnat: true }, answer]
        },
      }),
    ),
    ...sent.map(
      ({ protocol, port }): Probe => ({
        way: "here",
        packets(hook) {
          const first = { ...opens, ...before, iif: bridge, source: address, destination: gateway, local: true }
          if (hook === "prerouting" || hook === "input") return [{ ...first, protocol, port }]
          if (hook !== "output") return []
          const ends = { iif: undefined, oif: bridge, source: gateway, destination: address }
          return [{ ...answers, ...ends, protocol, port: back(port) }]
        },
      }),
    ),
  ]
}

/** `whole`: whether all that this host has was read. */
function readTables(look: Look): { readonly tables: readonly Table[]; readonly whole: boolean } {
  const listed = look.run(RULESET)
  const byNft = listed?.exit === 0 ? listed.stdout : undefined
  const opaque = byNft === undefined ? [] : opaqueTables(byNft)
  const families = ["ip", "ip6"] as const
  const asked = families.flatMap((family) => {
    const name = family === "ip" ? "iptables" : "ip6tables"
    // Where the kernel has no such tables, asking for them would make them.
    const old = (look.read(`/proc/net/${family}_tables_names`) ?? "").trim() !== ""
    return [
      ...(old ? [saved(look, family, [`${name}-legacy`, name])] : []),
      ...(opaque.some((table) => table.family === family) ? [saved(look, family, [`${name}-nft`, name])] : []),
    ]
  })
  const isThere = listed !== undefined || asked.some((tables) => tables !== undefined)
  const answers = (listed === undefined || byNft !== undefined) && asked.every((tables) => tables !== undefined)
  const byIptables = asked.flatMap((tables) => tables ?? [])
  const isRead = ({ family, name }: Table) =>
    opaque.some((table) => table.family === family && table.name === name) &&
    byIptables.some((table) => table.family === family && table.name === name && !table.program.endsWith("-legacy"))
  const others = (byNft === undefined ? [] : parseNftRuleset(byNft)).filter((table) => !isRead(table))
  return { tables: [...others, ...byIptables], whole: isThere && answers }
}

/** Undefined when none of these programs is there and answers. */
function saved(look: Look, family: "ip" | "ip6", programs: readonly string[]): readonly Table[] | undefined {
  for (const program of programs) {
    const said = look.run([`${program}-save`])
    if (said?.exit === 0) return parseIptables(said.stdout, family, program)
  }
  return undefined
}
