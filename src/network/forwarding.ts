import { readFileSync } from "node:fs"
import { ADMIN_PATH, findProgram } from "../state/programs.ts"
import { listBaseChains, listTable } from "./nft.ts"
import { readSetting, writeSetting } from "./sysctl.ts"

/** What there is to say about forwarding, and whether IPv4 packets are passed on at all. */
export interface Forwarding {
  readonly works: boolean
  readonly info: string | undefined
  readonly warnings: readonly string[]
}

/**
 * Whether this host passes packets on between its interfaces. That of IPv4 is switched on when it is `wanted`, and stays
 * on: others may have begun to rely on it. That of IPv6 never is: a host that forwards takes no router's advertisements
 * any more, and could lose its own way out.
 */
export function checkForwarding(wanted: boolean, ipv6: boolean): Forwarding {
  const off = readSetting("ipv4/ip_forward") === "0"
  if (off && wanted) writeSetting("ipv4/ip_forward", "1")
  const off6 = ipv6 && readSetting("ipv6/conf/all/forwarding") === "0"
  const only = "the guest reaches this host only"
  const how = "network: { forward: true } switches it on, or: sysctl -w net.ipv4.ip_forward=1"
  const how6 =
    "sysctl -w net.ipv6.conf.all.forwarding=1, and accept_ra=2 for the interface that this host's own router is on"
  return {
    works: !off || wanted,
    info: off && wanted ? "switched on net.ipv4.ip_forward, for all of this host; it stays on" : undefined,
    warnings: [
      ...(off && !wanted ? [`net.ipv4.ip_forward is off on this host: ${only} (${how})`] : []),
      ...(off6 ? [`net.ipv6.conf.all.forwarding is off on this host: by IPv6 ${only} (${how6})`] : []),
    ],
  }
}

/**
 * What of the host's other rules drops what is forwarded for a bridge, with the commands that let it through: a chain of
 * another table whose policy is to drop (Docker's), and that does not know the bridge. No rule of ours could do: for
 * netfilter a drop is final wherever it happens, and an accept holds for one table only.
 */
export function forwardBlockers(bridge: string): readonly string[] {
  const chains = listBaseChains().filter(
    ({ hook, policy, family, table }) =>
      hook === "forward" && policy === "drop" && ["ip", "inet"].includes(family) && !table.startsWith("banger"),
  )
  const found = chains.flatMap(({ family, table, name }) => {
    const rules = listTable(family, table)
    return rules.includes(`"${bridge}"`) ? [] : [blocker(`${family} ${table} ${name}`, rules, bridge)]
  })
  const legacy = legacyPolicy(bridge)
  return legacy === undefined ? found : [...found, legacy]
}

/** What to run so that Docker, or whoever else, lets a bridge's packets through. Pure. */
export function blocker(chain: string, rules: string, bridge: string): string {
  const docker = /\bDOCKER-USER\b/.test(rules)
  const into = docker ? "DOCKER-USER" : "FORWARD"
  const commands = ["-i", "-o"].map((direction) => `iptables -I ${into} ${direction} ${bridge} -j ACCEPT`).join(" && ")
  const own = /^(?:ip|inet) filter FORWARD$/.test(chain)
  const whose = docker ? "Docker's chain" : "the chain"
  const todo = own ? `run: ${commands}` : `add rules there that accept what comes from and goes to ${bridge}`
  return `${whose} ${chain} drops what is forwarded, so the guest reaches this host only; ${todo}`
}

// --- internal ---

/** Tables of the old iptables, which nft does not see. */
function legacyPolicy(bridge: string): string | undefined {
  let tables: string
  try {
    tables = readFileSync("/proc/net/ip_tables_names", "latin1")
  } catch {
    // No such thing in this kernel, or not for us to read: then there is nothing to say.
    return undefined
  }
  if (!tables.split("\n").includes("filter")) return undefined
  const program = findProgram("iptables-legacy", ADMIN_PATH).path ?? findProgram("iptables", ADMIN_PATH).path
  if (program === undefined) return undefined
  const { exitCode, stdout } = Bun.spawnSync([program, "-w", "5", "-S"], {
    env: {},
    cwd: "/",
    stdin: "ignore",
    timeout: 10_000,
  })
  const rules = stdout.toString()
  if (exitCode !== 0 || !rules.includes("-P FORWARD DROP") || rules.includes(bridge)) return undefined
  return blocker("ip filter FORWARD", rules, bridge)
}
