import { type KernelRules, type RulesTable, withKernelRules } from "../../base/linux/nftables.ts"
import type { Lease } from "../../store/state/leases.ts"

/** How many rules each chain has that a script of banger's makes, one a line. Pure. */
export function plannedCounts(script: string): readonly PlannedChain[] {
  const counts = new Map<string, PlannedChain & { count: number }>()
  let family: RulesTable["family"] = "inet"
  let within: (PlannedChain & { count: number }) | undefined
  for (const line of script.split("\n")) {
    const [, opened, table] = line.endsWith("{") ? (/^(table|chain|set) (.*) \{$/.exec(line) ?? []) : []
    if (opened === "table") family = table?.startsWith("bridge ") === true ? "bridge" : "inet"
    if (opened === "chain" && table !== undefined) {
      within = { family, chain: table, count: 0 }
      counts.set(`${family} ${table}`, within)
    } else if (opened !== undefined || line === "}") within = undefined
    else if (within !== undefined && !line.startsWith("type ")) within.count++
  }
  return [...counts.values()]
}

/** A chain of an owner's tables, and how many rules it is to have. */
export interface PlannedChain {
  readonly family: RulesTable["family"]
  readonly chain: string
  readonly count: number
}

/** What is known of the rules that are to be: the name of the tables of both families, and the script that made them. */
export interface MadeRules {
  readonly table: string
  readonly script: string
}

/**
 * Which guests' ports lack rules that a script has made, by what the kernel has of them: it is asked itself, since nft needs longer for
 * the rules of a thousand VMs than anybody waits for a list. Throws a system error where it cannot tell.
 */
export function rulesLackedBy({
  table: name,
  script,
}: MadeRules): (of: Pick<Lease, "link" | "mac">) => string | undefined {
  return withKernelRules((rules) => {
    const macs = new Set((rules.keys({ family: "bridge", name }, "macs") ?? []).map((key) => key.toHex()))
    const short = plannedCounts(script).some((chain) => isShort(rules, name, chain))
    return ({ link, mac }) => {
      if (!macs.has(keyOf(link, mac))) return "its rules are gone"
      return short ? "some of the rules of this banger's networks are gone" : undefined
    }
  })
}

// --- internal ---

function isShort(rules: KernelRules, name: string, { family, chain, count }: PlannedChain): boolean {
  return (rules.count({ family, name }, chain) ?? -1) < count
}

/** The key of the set `macs`, in hexadecimal digits: an interface's name in 16 bytes, a MAC, and two bytes to make it a multiple of four. */
function keyOf(link: string, mac: string): string {
  return `${Buffer.from(link, "latin1").toString("hex").padEnd(32, "0")}${mac.replaceAll(":", "")}0000`
}
