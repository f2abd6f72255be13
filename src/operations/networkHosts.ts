import * as v from "valibot"
import { CARD, formatAddress, formatIpv6, ipv6Bytes } from "../base/terms/address.ts"
import { ipv6Network, ownerOf } from "../host/network/names.ts"
import { listBridgeLeases } from "../store/state/bridgeLeases.ts"
import { listLeases } from "../store/state/leases.ts"
import type { State } from "../store/state/open.ts"
import { isUpIn, listUnfinished } from "../store/state/records.ts"

/** What `banger net hosts` shows: the names of VMs that are up, and where each is. */
export const hostNamesSchema = v.array(v.strictObject({ address: v.string(), name: v.string(), vm: v.string() }))
export type HostName = Readonly<v.InferOutput<typeof hostNamesSchema>[number]>

/** The addresses, as banger gave them to the plugins' own cards, of the VMs that are up, by name. Nothing is changed. */
export function listHostNames({ db, where }: Pick<State, "db" | "where">): readonly HostName[] {
  const owner = ownerOf(where.state)
  const isUp = isUpIn(db)
  const all = [
    ...listLeases(db).flatMap(({ vm, card, bridge, subnet, number, ipv6 }) => [
      { vm, card, address: formatAddress(subnet.base + number) },
      ...(ipv6 ? [{ vm, card, address: formatIpv6(ipv6Bytes(ipv6Network(owner, bridge), number)) }] : []),
    ]),
    ...listBridgeLeases(db).flatMap(({ vm, card, address }) => (address === undefined ? [] : [{ vm, card, address }])),
  ]
  const addresses = Map.groupBy(
    all.filter(({ card }) => card === CARD),
    ({ vm }) => vm,
  )
  return listUnfinished(db)
    .filter(({ id }) => isUp(id))
    .flatMap(({ id, name }) => (addresses.get(id) ?? []).map(({ vm, address }) => ({ address, name, vm })))
    .toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
}
