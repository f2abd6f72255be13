import type { NetworkList } from "../../operations/networkList.ts"
import { table } from "./table.ts"

/** What banger has of this host's network, for people: a table for each kind that there is. Pure. */
export function networkTables({ bridges, taps, leases, tables: rules }: NetworkList): string {
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
      ["VM", "STATE", "BRIDGE", "ADDRESS", "MAC", "INTERFACE", "ISOLATED", "PORTS"],
      leases.map((l) => [
        l.vm,
        l.state ?? "none",
        l.vlan === null ? l.bridge : `${l.bridge} VLAN ${l.vlan}`,
        l.address ?? "any",
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

// --- internal ---

function yes(value: boolean): string {
  return value ? "yes" : "no"
}

/** Nothing when there are no rows. */
function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return rows.length === 0 ? "" : table(head, rows)
}
