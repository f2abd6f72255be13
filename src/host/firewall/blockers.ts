import { shellWords } from "../../base/terms/shell.ts"

/** What is read of a host's rules, and by what. */
export interface Look {
  /** Runs a program that only reports. Undefined when the program is missing. */
  run(argv: readonly string[]): { readonly exit: number | null; readonly stdout: string } | undefined
  /** A file's text; undefined when the file is missing. */
  read(path: string): string | undefined
}

/** A chain of another program that drops what is forwarded for a bridge. */
export interface Blocker {
  readonly chain: string
  /** Whether the chain is Docker's. */
  readonly docker: boolean
  /** The commands that let the bridge through, where they are known. */
  readonly mend: string | undefined
}

/** All of banger's bridges, in iptables' words. */
export const ANY_BRIDGE = "bgr+"

/**
 * The chains of other tables that drop what is forwarded for a bridge: their policy is to drop (Docker's is), and their
 * table does not name the bridge. No rule of ours could help: to netfilter a drop is final, and an accept counts in one
 * table only. Undefined when neither nft nor iptables is there to ask.
 */
export function forwardBlockers(look: Look, bridge: string): readonly Blocker[] | undefined {
  const listed = look.run(["nft", "-t", "list", "ruleset"])
  // Where the kernel has no such tables, asking iptables would create them.
  const hasLegacy = look.read("/proc/net/ip_tables_names")?.split("\n").includes("filter") === true
  const programs = hasLegacy ? ["iptables-legacy", "iptables"] : []
  const [legacy] = programs.flatMap((program) => {
    const said = look.run([program, "-w", "5", "-S"])
    return said === undefined ? [] : [{ program, said }]
  })
  if (listed === undefined && legacy === undefined) return undefined
  return [
    ...(listed?.exit === 0 ? nftBlockers(listed.stdout, bridge) : []),
    ...(legacy?.said.exit === 0 ? legacyBlockers(legacy.said.stdout, legacy.program, bridge) : []),
  ]
}

/** A blocker in words, with the remedy. Pure. */
export function sayBlocker({ chain, docker, mend }: Blocker, bridge: string): string {
  const todo = mend === undefined ? `add rules there that accept what comes from and goes to ${bridge}` : `run: ${mend}`
  const whose = docker ? "Docker's chain" : "the chain"
  return `${whose} ${chain} drops what is forwarded, so the guest reaches this host only; ${todo}`
}

/** The blockers in a ruleset as `nft list ruleset` prints it. Pure. */
export function nftBlockers(ruleset: string, bridge: string): readonly Blocker[] {
  const tables = ruleset.split(/^(?=table )/m)
  return tables.flatMap((text) => {
    const [, family = "", table = ""] = /^table (ip|inet) (\S+)/.exec(text) ?? []
    if (table === "" || table.startsWith("banger") || knows(text, bridge)) return []
    const chains = text.matchAll(/chain (\S+) \{[^{}]*?hook forward[^{}]*?policy drop/g)
    return [...chains].map(([, chain = ""]) => {
      const docker = isDockers(text)
      const own = `${family} ${table} ${chain}` === "ip filter FORWARD"
      return { chain: `${family} ${table} ${chain}`, docker, mend: own ? mend("iptables", docker, bridge) : undefined }
    })
  })
}

/** The blocker in the rules of the old iptables, as its `-S` prints them; nft does not show these. Pure. */
export function legacyBlockers(rules: string, program: string, bridge: string): readonly Blocker[] {
  if (!/^-P FORWARD DROP$/m.test(rules) || knows(rules, bridge)) return []
  const docker = isDockers(rules)
  return [{ chain: `filter FORWARD (${program})`, docker, mend: mend(program, docker, bridge) }]
}

// --- internal ---

/** Whether rules name a bridge, or a prefix of its name: `"bgr0"`, `"bgr*"`, `-i bgr+`; of `ANY_BRIDGE` one of banger's. */
function knows(rules: string, bridge: string): boolean {
  const names = [...rules.matchAll(/"([^"]*)"|-[io] (\S*)/g)].map(([, nft, iptables]) => nft ?? iptables ?? "")
  return names.some((name) => {
    if (bridge === ANY_BRIDGE) return name.startsWith("bgr")
    const beginning = /^(.*)[*+]$/.exec(name)?.[1]
    return name === bridge || (beginning !== undefined && bridge.startsWith(beginning))
  })
}

function isDockers(rules: string): boolean {
  return /\bDOCKER-USER\b/.test(rules)
}

function mend(program: string, docker: boolean, bridge: string): string {
  const into = docker ? "DOCKER-USER" : "FORWARD"
  return ["-i", "-o"].map((way) => shellWords([program, "-I", into, way, bridge, "-j", "ACCEPT"])).join(" && ")
}
