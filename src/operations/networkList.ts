import * as v from "valibot"
import { type Link, listLinks } from "../base/linux/links.ts"
import { listAddresses } from "../base/linux/routes.ts"
import { withRoute } from "../base/linux/rtnetlink.ts"
import { addressOf, formatAddress, formatSubnet } from "../base/terms/address.ts"
import { formatPort } from "../base/terms/ports.ts"
import { portTableName } from "../host/bridge/portRules.ts"
import { ownerOf, parseAlias, tableName } from "../host/network/names.ts"
import { hasNft, listOwnTables } from "../host/network/nft.ts"
import { listBridgeLeases } from "../store/state/bridgeLeases.ts"
import { listLeases } from "../store/state/leases.ts"
import type { State } from "../store/state/open.ts"
import { listRecords } from "../store/state/records.ts"
import { vmStateSchema } from "../store/state/vmState.ts"

/** What `banger net ls` shows: the interfaces that bear banger's mark, the leases of this user's VMs, the rules. */
export const networkListSchema = v.strictObject({
  bridges: v.array(
    v.strictObject({
      name: v.string(),
      address: v.nullable(v.string()),
      up: v.boolean(),
      /** The state directory of the banger that made it. */
      owner: v.string(),
      ours: v.boolean(),
    }),
  ),
  taps: v.array(
    v.strictObject({
      name: v.string(),
      kind: v.string(),
      bridge: v.nullable(v.string()),
      vm: v.string(),
      owner: v.string(),
      ours: v.boolean(),
      up: v.boolean(),
    }),
  ),
  leases: v.array(
    v.strictObject({
      vm: v.string(),
      /** Which of the VM's network cards it is for: `eth0` is the plugin's own. */
      card: v.string(),
      /** null, as `state` is: the VM has no record. */
      name: v.nullable(v.string()),
      state: v.nullable(vmStateSchema),
      bridge: v.string(),
      /** null: the bridge is the user's. */
      subnet: v.nullable(v.string()),
      /** null: on a bridge of the user's any. */
      address: v.nullable(v.string()),
      /** The VLAN that it is in on a bridge of the user's; null: what the bridge gives. */
      vlan: v.nullable(v.number()),
      mac: v.string(),
      interface: v.string(),
      isolated: v.boolean(),
      ports: v.array(v.string()),
    }),
  ),
  tables: v.array(v.strictObject({ name: v.string(), ours: v.boolean() })),
})
export type NetworkList = v.InferOutput<typeof networkListSchema>

/** Everything of banger's network on this host, and whose it is. Nothing is changed. */
export function listNetwork(state: State): NetworkList {
  const owner = ownerOf(state.where.state)
  const { links, addresses } = withRoute((route) => ({ links: listLinks(route), addresses: listAddresses(route) }))
  const marked = links.flatMap((link) => {
    const mark = parseAlias(link.alias)
    return mark === undefined ? [] : [{ link, mark, ours: mark.owner === owner }]
  })
  const addressAt = (index: number) => addresses.find((one) => one.index === index)
  const nameAt = (index: number | undefined) => links.find((link) => link.index === index)?.name ?? null
  const records = new Map(listRecords(state.db).map((record) => [record.id, record]))
  const whose = ({ vm, card }: { readonly vm: string; readonly card: string }) => {
    const { name = null, state: now = null } = records.get(vm) ?? {}
    return { vm, card, name, state: now }
  }
  return {
    bridges: marked
      .filter(({ mark }) => mark.kind === "bridge")
      .map(({ link, mark, ours }) => ({
        name: link.name,
        address: shown(addressAt(link.index)),
        up: link.up,
        owner: mark.owner,
        ours,
      })),
    taps: marked
      .filter(({ mark }) => mark.kind !== "bridge")
      .map(({ link, mark, ours }) => ({
        ...ofTap(link),
        bridge: nameAt(link.master),
        vm: mark.vm ?? "",
        owner: mark.owner,
        ours,
      })),
    leases: [
      ...listLeases(state.db).map(({ vm, card, bridge, subnet, number, mac, link, isolate, ports }) => ({
        ...whose({ vm, card }),
        bridge,
        subnet: formatSubnet(subnet),
        address: formatAddress(subnet.base + number),
        vlan: null,
        mac,
        interface: link,
        isolated: isolate,
        ports: ports.map(formatPort),
      })),
      ...listBridgeLeases(state.db).map(({ vm, card, bridge, address, vlan, mac, link, isolate }) => ({
        ...whose({ vm, card }),
        bridge,
        subnet: null,
        address: address ?? null,
        vlan: vlan ?? null,
        mac,
        interface: link,
        isolated: isolate,
        ports: [],
      })),
    ],
    tables: (hasNft() && process.geteuid?.() === 0 ? listOwnTables() : []).map((name) => ({
      name,
      ours: name === tableName(owner) || name === portTableName(owner),
    })),
  }
}

// --- internal ---

function shown(address: { address: Uint8Array; prefix: number } | undefined): string | null {
  return address === undefined ? null : `${formatAddress(addressOf(address.address))}/${address.prefix}`
}

function ofTap({ name, kind, up }: Link): { name: string; kind: string; up: boolean } {
  return { name, kind: kind === "tun" ? "tap" : (kind ?? ""), up }
}
