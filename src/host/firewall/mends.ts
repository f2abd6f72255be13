import { shellWords } from "../../base/terms/shell.ts"
import type { Way } from "./packet.ts"
import { type Chain, type Table, withAccept } from "./ruleset.ts"

/** What a chain keeps from going, and for which bridge. */
export interface Shut {
  readonly ways: readonly Way[]
  readonly bridge: string
  /** How rules name it: itself, or all of banger's. */
  readonly named: string
  /** Whether everything passes a table. */
  passes(table: Table): boolean
}

/** Whose a chain is, by the names that their programs give, and the commands that let a bridge through. Pure. */
export function mendOf(
  table: Table,
  chain: Chain,
  shut: Shut,
): { readonly whose: string | undefined; readonly mend: string } {
  const { bridge, named, ways } = shut
  const has = (pattern: RegExp) => [...table.chains.keys()].some((name) => pattern.test(name))
  if (table.name === "firewalld" || has(/^(?:FORWARD|INPUT)_(?:IN_)?ZONES$/)) {
    const zone = ["firewall-cmd", "--zone=trusted", `--change-interface=${bridge}`]
    return { whose: "firewalld", mend: together([zone, ["firewall-cmd", "--permanent", ...zone.slice(1)]]) }
  }
  if (has(/^ufw6?-/)) {
    const here = ["ufw", "allow", "in", "on", bridge]
    const routed = ["in", "out"].map((way) => ["ufw", "route", "allow", way, "on", bridge])
    return { whose: "ufw", mend: together(ways.includes("here") ? [here] : routed) }
  }
  const docker = has(/^DOCKER-USER$/) && chain.name === "FORWARD"
  // Docker makes its own rules anew, but leaves this chain to its users. What stands before it is not to be mended there.
  const into = docker && shut.passes(withAccept(table, "DOCKER-USER")) ? "DOCKER-USER" : chain.name
  const directions = directionsOf(chain)
  const program = programOf(table, chain)
  return {
    whose: docker ? "Docker" : undefined,
    mend: together(
      program === "nft"
        ? directions.map((way) => insertion(table, chain, `${way}ifname ${JSON.stringify(wildcard(named, "*"))}`))
        : directions.map((way) => [
            program,
            ...(table.name === "filter" ? [] : ["-t", table.name]),
            ...["-I", into, `-${way}`, wildcard(named, "+"), "-j", "ACCEPT"],
          ]),
    ),
  }
}

// --- internal ---

/** iptables finds its own chains among nft's by their names, and changes them with what it needs besides. */
function programOf({ program, family, name }: Table, chain: Chain): string {
  const isIptables = family !== "inet" && ["filter", "raw", "mangle", "security"].includes(name)
  if (program !== "nft") return program
  if (!isIptables || chain.name !== chain.hook?.toUpperCase()) return "nft"
  return family === "ip" ? "iptables" : "ip6tables"
}

function together(commands: readonly (readonly string[])[]): string {
  return commands.map((words) => shellWords(words)).join(" && ")
}

function insertion({ family, name }: Table, chain: Chain, test: string): readonly string[] {
  return ["nft", `insert rule ${family} ${name} ${chain.name} ${test} accept`]
}

/** Which side of a packet's way the bridge is on; at a hook before routing nothing has its way out yet. */
function directionsOf({ hook }: Chain): readonly ("i" | "o")[] {
  if (hook === "prerouting" || hook === "input") return ["i"]
  return hook === "postrouting" || hook === "output" ? ["o"] : ["i", "o"]
}

function wildcard(named: string, star: "*" | "+"): string {
  return named.replace(/\*$/, star)
}
