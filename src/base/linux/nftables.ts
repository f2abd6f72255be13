import { errorCode } from "./errors.ts"
import { behindHeader, netfilterHeader, withNetfilter } from "./netfilter.ts"
import { joined, listAttributes, type Message, NLM_F, parseAttributes, textAttribute, textOf } from "./netlink.ts"
import type { Ask } from "./netlinkSocket.ts"

/** A table of nf_tables. */
export interface RulesTable {
  readonly family: "inet" | "bridge"
  readonly name: string
}

/** A table as nft names it. */
export interface NamedTable {
  /** `ip`, `ip6`, `inet`, `arp`, `bridge`, `netdev`; its number for any other. */
  readonly family: string
  readonly name: string
}

/** The rules of the network namespace that the connection was opened in, as the kernel has them: no program is asked. */
export interface KernelRules {
  tables(): readonly NamedTable[]
  /** How many rules a chain that no other one jumps to has; undefined: there is no such chain. */
  count(table: RulesTable, chain: string): number | undefined
  /** The keys of a set's elements, the parts of each padded to four bytes; undefined: there is no such set. */
  keys(table: RulesTable, set: string): readonly Uint8Array[] | undefined
}

/** Runs `use` with the rules of this thread's network namespace (NETLINK_NETFILTER, linux/netfilter/nf_tables.h; CAP_NET_ADMIN). */
export function withKernelRules<T>(use: (rules: KernelRules) => T): T {
  return withNetfilter((ask) =>
    use({
      tables: () => tables(ask),
      count: (table, chain) => unlessMissing(() => count(ask, table, chain)),
      keys: (table, set) => unlessMissing(() => keys(ask, table, set)),
    }),
  )
}

/** The keys in a message of the kernel's about a set's elements. Pure. */
export function parseKeys({ body }: Pick<Message, "body">): readonly Uint8Array[] {
  const elements = parseAttributes(behindHeader(body)).get(LIST.ELEMENTS)
  return elements === undefined ? [] : listAttributes(elements).flatMap(([, element]) => keyOf(element) ?? [])
}

// --- internal ---

/** NFNL_SUBSYS_NFTABLES in the upper byte of a message's type. */
const SUBSYSTEM = 10 << 8
const GET = { TABLE: SUBSYSTEM | 1, CHAIN: SUBSYSTEM | 4, ELEMENTS: SUBSYSTEM | 13 } as const
const FAMILY = { inet: 1, bridge: 7 } as const
const FAMILIES: Readonly<Record<number, string>> = { 1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6" }
const TABLE_NAME = 1
const CHAIN = { TABLE: 1, NAME: 3, USE: 6 } as const
const LIST = { TABLE: 1, SET: 2, ELEMENTS: 3 } as const
const ELEMENT_KEY = 1
const DATA_VALUE = 1

function tables(ask: Ask): readonly NamedTable[] {
  const request = {
    name: "NFT_GETTABLE",
    type: GET.TABLE,
    flags: NLM_F.DUMP,
    body: netfilterHeader(0),
    subject: "all tables",
  }
  return ask(request).map(({ body }) => {
    const [number = 0] = body
    const name = textOf(parseAttributes(behindHeader(body)).get(TABLE_NAME)) ?? ""
    return { family: FAMILIES[number] ?? String(number), name }
  })
}

function count(ask: Ask, { family, name }: RulesTable, chain: string): number | undefined {
  const body = joined(
    netfilterHeader(FAMILY[family]),
    textAttribute(CHAIN.TABLE, name),
    textAttribute(CHAIN.NAME, chain),
  )
  const [answer] = ask({ name: "NFT_GETCHAIN", type: GET.CHAIN, body, subject: `${name} ${chain}` })
  const use = answer && parseAttributes(behindHeader(answer.body)).get(CHAIN.USE)
  return use && new DataView(use.buffer, use.byteOffset, use.byteLength).getUint32(0)
}

function keys(ask: Ask, { family, name }: RulesTable, set: string): readonly Uint8Array[] {
  const body = joined(netfilterHeader(FAMILY[family]), textAttribute(LIST.TABLE, name), textAttribute(LIST.SET, set))
  const request = { name: "NFT_GETSETELEM", type: GET.ELEMENTS, flags: NLM_F.DUMP, body, subject: `${name} ${set}` }
  return ask(request).flatMap(parseKeys)
}

function keyOf(element: Uint8Array): Uint8Array | undefined {
  const key = parseAttributes(element).get(ELEMENT_KEY)
  return key && parseAttributes(key).get(DATA_VALUE)
}

function unlessMissing<T>(get: () => T): T | undefined {
  try {
    return get()
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined
    throw error
  }
}
