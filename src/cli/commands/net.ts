import { EXIT, usageError } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"
import { checkNetwork } from "../../operations/networkCheck.ts"
import { listNetwork, type NetworkList } from "../../operations/networkList.ts"
import { openState, type State } from "../../store/state/open.ts"
import { findNetworkLeftovers, reapplyRules, removeNetworkLeftover } from "../../upkeep/leftovers/networkLeftovers.ts"
import { type Command, type Output, text } from "../terminal/command.ts"
import { table } from "../terminal/table.ts"

const ACTIONS = ["ls", "rm", "check"]

const command: Command = {
  meta: {
    name: "net",
    description: "Look after the network: ls (bridges, taps, leases, rules), rm (leftovers), check (send packets)",
  },
  args: {
    action: { type: "positional", required: true, description: "ls, rm or check" },
    name: { type: "positional", required: false, description: "rm: only this interface, table or lease" },
    "dry-run": { type: "boolean", description: "rm: say what would be removed, and why" },
    bridge: { type: "string", valueHint: "NAME", description: "check: the bridge to send packets over (bgr0)" },
    to: { type: "string", valueHint: "ADDRESS", description: "check: whom to reach (the host's router)" },
    json: { type: "boolean", description: "Print JSON" },
  },
  run({ values, output }) {
    const action = text(values, "action") ?? ""
    const [name, bridge, to, json] = [
      text(values, "name"),
      text(values, "bridge"),
      text(values, "to"),
      values.json === true,
    ]
    if (!ACTIONS.includes(action)) {
      const near = nearest(action, ACTIONS)
      throw usageError(`banger net has no ${action}`, near === undefined ? "ls, rm or check" : `did you mean ${near}?`)
    }
    if (action !== "rm" && (name !== undefined || values["dry-run"] === true)) {
      throw usageError(`banger net ${action} takes neither a name nor --dry-run`)
    }
    if (action !== "check" && (bridge !== undefined || to !== undefined)) {
      throw usageError("--bridge and --to are of banger net check")
    }
    if (action === "rm" && process.geteuid?.() !== 0)
      throw usageError("banger net rm removes interfaces: only root can", "run it as root")
    using state = openState()
    if (action === "ls") return list(state, json, output)
    if (action === "rm") return remove(state, name, values["dry-run"] === true, json, output)
    return check(state, bridge, to, json, output)
  },
}
export default command

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

function remove(state: State, name: string | undefined, dryRun: boolean, json: boolean, output: Output): number {
  const found = findNetworkLeftovers(state).filter((leftover) => name === undefined || leftover.name === name)
  if (name !== undefined && found.length === 0) {
    throw usageError(
      `${name} is nothing that banger left behind`,
      "banger net ls shows what there is, and whose; a VM's goes with it: banger rm",
    )
  }
  const done = dryRun
    ? found
    : found.map((leftover) => (leftover.is === "dead" ? removeNetworkLeftover(state, leftover) : leftover))
  if (!dryRun) reapplyRules(state)
  if (json) output.print(JSON.stringify(done, null, 2))
  for (const { kind, name, is, why } of json ? [] : done)
    output.print(`${is === "dead" ? "would remove" : is}: ${kind} ${name}: ${why}`)
  return done.some(({ is }) => is === "unknown" || (name !== undefined && is === "kept")) ? EXIT.failed : EXIT.ok
}

function check(
  state: State,
  bridge: string | undefined,
  to: string | undefined,
  json: boolean,
  output: Output,
): number {
  const steps = checkNetwork(state, bridge, to)
  if (json) output.print(JSON.stringify(steps, null, 2))
  for (const { what, ok, why } of json ? [] : steps)
    output.print(`${ok ? "ok  " : "FAIL"}  ${what}${why === undefined ? "" : `: ${why}`}`)
  return steps.every(({ ok }) => ok) ? EXIT.ok : EXIT.failed
}
