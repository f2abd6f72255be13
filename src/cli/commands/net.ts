import { EXIT, Failure } from "../../base/terms/failure.ts"
import { checkNetwork } from "../../operations/networkCheck.ts"
import { listNetwork, type NetworkList } from "../../operations/networkList.ts"
import { type NetworkRemoval, removeNetwork } from "../../operations/networkRemove.ts"
import { openState, type State } from "../../store/state/open.ts"
import { command } from "../terminal/command.ts"
import type { Output } from "../terminal/output.ts"
import { table } from "../terminal/table.ts"

const ls = command({
  meta: { name: "ls", description: "List bridges, taps, leases and rules, and whose they are" },
  args: {},
  run({ json }, { output }) {
    using state = openState()
    return list(state, json === true, output)
  },
})

const rm = command({
  meta: { name: "rm", description: "Remove interfaces, tables and leases that no VM needs any more" },
  args: {
    name: { type: "positional", required: false, description: "Only this interface, table or lease" },
    "dry-run": { type: "boolean", description: "Say what would be removed, and why" },
  },
  run({ name, "dry-run": dryRun, json }, { output }) {
    if (process.geteuid?.() !== 0)
      throw new Failure("NEEDS_ROOT", "banger net rm removes interfaces: only root can", { hint: "run it as root" })
    using state = openState()
    return remove(state, { name, dryRun: dryRun === true, json: json === true }, output)
  },
})

const check = command({
  meta: { name: "check", description: "Send packets over a bridge, and say where they get lost" },
  args: {
    bridge: { type: "string", valueHint: "NAME", description: "The bridge to send packets over (bgr0)" },
    to: { type: "string", valueHint: "ADDRESS", description: "Whom to reach (the host's router)" },
  },
  run({ bridge, to, json }, { output }) {
    using state = openState()
    const steps = checkNetwork(state, bridge, to)
    if (json === true) output.print(JSON.stringify(steps, null, 2))
    for (const { what, ok, why } of json === true ? [] : steps)
      output.print(`${ok ? "ok  " : "FAIL"}  ${what}${why === undefined ? "" : `: ${why}`}`)
    return steps.every(({ ok }) => ok) ? EXIT.ok : EXIT.failed
  },
})

export default command({
  meta: { name: "net", description: "Look after the network: list it, remove leftovers, send packets" },
  args: {},
  subCommands: { ls, rm, check },
})

// --- internal ---

function list(state: State, json: boolean, output: Output): number {
  const found = listNetwork(state)
  const text = json ? JSON.stringify(found, null, 2) : tables(found)
  if (text === "") output.log.info("banger has no network here")
  else output.print(text)
  return EXIT.ok
}

function tables({ bridges, taps, leases, tables: rules }: NetworkList): string {
  const whose = (owner: string, ours: boolean) => (ours ? "this banger" : owner)
  return [
    tableOf(
      ["BRIDGE", "ADDRESS", "UP", "OWNER"],
      bridges.map((b) => [b.name, b.address ?? "-", yes(b.up), whose(b.owner, b.ours)]),
    ),
    tableOf(
      ["INTERFACE", "KIND", "BRIDGE", "VM", "UP", "OWNER"],
      taps.map((t) => [t.name, t.kind, t.bridge ?? "-", t.vm, yes(t.up), whose(t.owner, t.ours)]),
    ),
    tableOf(
      ["VM", "STATE", "ADDRESS", "MAC", "INTERFACE", "ISOLATED", "PORTS"],
      leases.map((l) => [
        l.vm,
        l.state ?? "none",
        l.address,
        l.mac,
        l.interface,
        yes(l.isolated),
        l.ports.join(" ") || "-",
      ]),
    ),
    tableOf(
      ["TABLE", "OWNER"],
      rules.map((r) => [r.name, r.ours ? "this banger" : "another"]),
    ),
  ]
    .filter((part) => part !== "")
    .join("\n\n")
}

function yes(value: boolean): string {
  return value ? "yes" : "no"
}

/** Nothing when there are no rows. */
function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return rows.length === 0 ? "" : table(head, rows)
}

interface Removal extends NetworkRemoval {
  readonly json: boolean
}

function remove(state: State, { name, dryRun, json }: Removal, output: Output): number {
  const done = removeNetwork(state, { name, dryRun })
  if (json) output.print(JSON.stringify(done, null, 2))
  for (const { kind, name, verdict, reason } of json ? [] : done) {
    const word = verdict !== "remove" ? verdict : dryRun ? "would remove" : "removed"
    output.print(`${word}: ${kind} ${name}: ${reason}`)
  }
  return done.some(({ verdict }) => verdict === "unknown" || (name !== undefined && verdict === "keep"))
    ? EXIT.failed
    : EXIT.ok
}
