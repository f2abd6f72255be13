import * as v from "valibot"
import { type Look, RULESET } from "./blockers.ts"
import { isOfBanger } from "./ruleset.ts"

/** A port of this host that rules of another program send elsewhere. */
export interface Forward {
  readonly protocol: "tcp" | "udp"
  /** The one that it was sent to; undefined: any, or it cannot be told. */
  readonly address: string | undefined
  readonly port: number
  /** Whose rules: a table of nft's, or a program. */
  readonly by: string
}

/**
 * The ports that rules of other programs translate, as nft and the iptables programs list them: of whichever comes first at a hook
 * the other one never hears. What names no single port is left out.
 */
export function findForwards(look: Look): readonly Forward[] {
  const listed = look.run(RULESET)
  const old = (look.read("/proc/net/ip_tables_names") ?? "").split("\n").includes("nat")
  const saved = old ? look.run(["iptables-legacy-save", "-t", "nat"]) : undefined
  return [
    ...(listed?.exit === 0 ? nftForwards(listed.stdout) : []),
    ...(saved?.exit === 0 ? iptablesForwards(saved.stdout, "iptables-legacy") : []),
  ]
}

// --- internal ---

/** Those in `nft -j list ruleset`, but banger's own; a target of iptables' counts too. Pure. */
function nftForwards(text: string): readonly Forward[] {
  const { nftables } = v.parse(rulesetSchema, JSON.parse(text))
  return nftables.flatMap(({ rule }) => {
    if (rule === undefined || isOfBanger(rule.table) || !rule.expr.some(isTranslation)) return []
    const ports = rule.expr.flatMap((statement) => {
      const match = v.safeParse(matchSchema, statement)
      return match.success ? [match.output.match] : []
    })
    const to = rule.expr.flatMap((statement) => {
      const match = v.safeParse(addressSchema, statement)
      return match.success ? [match.output.match.right] : []
    })
    return ports.map(({ left, right }) => ({
      protocol: left.payload.protocol,
      address: to[0],
      port: right,
      by: `table ${rule.family} ${rule.table}`,
    }))
  })
}

/** Those in what an iptables-save prints. Pure. */
function iptablesForwards(saved: string, program: string): readonly Forward[] {
  const rules = saved.matchAll(/^-A .*-p (tcp|udp) .*--dport (\d+) .*-j (?:DNAT|REDIRECT)/gm)
  return [...rules].map(([rule, protocol, port]) => ({
    protocol: protocol === "udp" ? "udp" : "tcp",
    address: /(?<!! )-d ([\d.]+)\/32 /.exec(rule)?.[1],
    port: Number(port),
    by: program,
  }))
}

const text = v.string()
const rulesetSchema = v.object({
  nftables: v.array(
    v.object({
      rule: v.optional(v.object({ family: text, table: text, expr: v.array(v.record(text, v.unknown())) })),
    }),
  ),
})
const matchSchema = v.object({
  match: v.object({
    op: v.literal("=="),
    left: v.object({ payload: v.object({ protocol: v.picklist(["tcp", "udp"]), field: v.literal("dport") }) }),
    right: v.number(),
  }),
})
const addressSchema = v.object({
  match: v.object({
    op: v.literal("=="),
    left: v.object({ payload: v.object({ protocol: v.literal("ip"), field: v.literal("daddr") }) }),
    right: v.pipe(text, v.ipv4()),
  }),
})
const xtSchema = v.object({ xt: v.object({ name: v.picklist(["DNAT", "REDIRECT"]) }) })

function isTranslation(statement: Readonly<Record<string, unknown>>): boolean {
  return "dnat" in statement || "redirect" in statement || v.is(xtSchema, statement)
}
