import * as v from "valibot"
import { type NamedTable, withKernelRules } from "../../base/linux/nftables.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import { ADMIN_PATH, findProgram, runSystem } from "../../store/files/programs.ts"
import { isOfBanger } from "../firewall/ruleset.ts"

/** Applies a script as one transaction (`nft -f -`), whole or not at all. Throws a failure with nft's own words. */
export function applyRules(script: string): void {
  run(["-f", "-"], script)
}

/** A script that removes a table of family inet, if it is there. Pure. */
export function forgetTable(name: string): string {
  // Adding a table that exists is not an error; removing one that does not exist is.
  return `add table inet ${name}\ndelete table inet ${name}\n`
}

/** The names of banger's tables on this host, of whatever owner. */
export function listOwnTables(): readonly string[] {
  return [...new Set(listTables().flatMap(({ name }) => (isOfBanger(name) ? [name] : [])))]
}

/**
 * All tables of this host, whatever their family. The kernel is asked itself: nft reads all rules for that. Throws a failure where the
 * kernel has no nf_tables, or does not tell.
 */
export function listTables(): readonly NamedTable[] {
  try {
    return withKernelRules((rules) => rules.tables())
  } catch (error) {
    const hint = "the kernel needs nf_tables (modprobe nf_tables), and banger root"
    const message = `the tables of this host's rules cannot be listed: ${messageOf(error)}`
    throw new Failure("HOST_LACKS", message, { hint, subject: "nf_tables", cause: error })
  }
}

/** A table's rules as nft prints them. */
export function listTable(name: string, family: "inet" | "bridge" = "inet"): string {
  return run(["list", "table", family, name], "")
}

/** As `listTable`; empty where there is no such table. Throws a failure where nft cannot tell. */
export function tableText(name: string, family: "inet" | "bridge"): string {
  return listTables().some((table) => table.family === family && table.name === name) ? listTable(name, family) : ""
}

/** The packets that each named counter of an inet table has seen. */
export function counters(table: string): Readonly<Record<string, number>> {
  const listed = v.parse(countersSchema, JSON.parse(run(["-j", "list", "counters", "table", "inet", table], "")))
  return Object.fromEntries(
    listed.nftables.flatMap(({ counter }) => (counter ? [[counter.name, counter.packets]] : [])),
  )
}

/** Whether this host has nft. */
export function hasNft(): boolean {
  return findProgram("nft", ADMIN_PATH).path !== undefined
}

/** The path of nft. Throws a failure that names its package; `instead`: what to do without. */
export function nftProgram(instead = "Or a network without rules: network: { nat: false, isolate: false }"): string {
  const { path, passedOver } = findProgram("nft", ADMIN_PATH)
  if (path !== undefined) return path
  if (passedOver.length > 0)
    throw new Failure("UNTRUSTED", `no nft can be used: ${passedOver.join("; ")}`, { subject: "nft" })
  const hint =
    "install the package nftables (Debian, Ubuntu, Fedora, Alpine and Arch call it so); it works beside iptables. " +
    instead
  const message = "nft is not installed: the rules of a network need it"
  throw new Failure("HOST_LACKS", message, { hint, subject: "nft" })
}

// --- internal ---

/** An nft that is stuck is ended after this time. */
const NFT_WAIT_MS = 20_000

const text = v.string()
const countersSchema = v.object({
  nftables: v.array(v.object({ counter: v.optional(v.object({ name: text, packets: v.number() })) })),
})

function run(words: readonly string[], input: string): string {
  nftProgram()
  const { exit = null, stdout = "", stderr = "" } = runSystem(["nft", ...words], input, NFT_WAIT_MS) ?? {}
  if (exit === 0) return stdout
  const what = `nft ${words.join(" ")}`
  const said = stderr.trim().split("\n").slice(0, 3).join("; ")
  if (said === "" && exit === null) {
    const hint = "see whether another nft holds the kernel's rules: ps -C nft"
    throw new Failure("TIMED_OUT", `${what} did not end in ${formatDuration(NFT_WAIT_MS)}`, { hint, subject: "nft" })
  }
  if (/not supported|No such file|Operation not permitted/.test(said)) {
    const hint = "the kernel needs nf_tables with the families inet and bridge (modprobe nf_tables), and banger root"
    throw new Failure("HOST_LACKS", `${what}: ${said}`, { hint, subject: "nft" })
  }
  // nft refuses for reasons that have no code in common, faults of ours among them.
  throw new Failure("FAILED", `${what}: ${said || `it ended with status ${exit}`}`, { subject: "nft" })
}
