import type { Database } from "bun:sqlite"
import * as v from "valibot"
import { Failure } from "../../base/terms/failure.ts"
import { holderOf, type Lease, listLeases } from "./leases.ts"

// Older bangers do not know this table, and replace rules that are made from the other one: no lease is in both.

/** What else a lease says, besides its VM and place. */
const detailSchema = v.object({
  vlan: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(4094))),
  isolate: v.boolean(),
  /** The bridge's index: another bridge of its name has another. */
  index: v.pipe(v.number(), v.integer(), v.minValue(1)),
})

// These words go into rules of the firewall: a record with any other form is not believed.
const rowSchema = v.pipe(
  v.object({
    vm: v.string(),
    /** Which of the VM's network cards it is for. */
    card: v.pipe(v.string(), v.regex(/^[a-z0-9_]{1,20}$/, "not a network card's id")),
    bridge: v.pipe(v.string(), v.regex(/^[!-~]{1,15}$/, "not a name for an interface")),
    address: v.nullable(v.pipe(v.string(), v.ipv4())),
    mac: v.pipe(v.string(), v.regex(/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/, "not a MAC address")),
    link: v.pipe(v.string(), v.regex(/^bgr[a-z0-9-]{1,12}$/, "not a name for an interface of banger's")),
    detail: v.pipe(v.string(), v.parseJson(), detailSchema),
  }),
  v.transform(({ address, detail, ...row }) => ({ ...row, ...detail, address: address ?? undefined })),
)

/** The place of a VM's network card on a bridge of the user's: a MAC and an interface's name that no other card has. */
export type BridgeLease = v.InferOutput<typeof rowSchema>

/**
 * Gives a card its place, in one transaction. Throws a failure, with nothing taken, when the MAC, or the address on that bridge,
 * is another card's. A card that has a place already gets the same again.
 */
export function takeBridgeLease(db: Database, request: BridgeLease): BridgeLease {
  const take = db.transaction(() => {
    const all = listBridgeLeases(db)
    const own = bridgeLeaseOf(all, request)
    if (own !== undefined) return own
    refuse(request, all, listLeases(db))
    const { vm, card, bridge, address = null, mac, link, vlan, isolate, index } = request
    const values = { vm, card, bridge, address, mac, link, detail: JSON.stringify({ vlan, isolate, index }) }
    db.query(
      `insert into bridge_leases (vm, card, bridge, address, mac, link, detail)
       values ($vm, $card, $bridge, $address, $mac, $link, $detail)`,
    ).run(values)
    return request
  })
  return take.immediate()
}

/** Gives back a card's place. A card without one is fine. */
export function freeBridgeLease(db: Database, { vm, card }: Pick<BridgeLease, "vm" | "card">): void {
  db.query("delete from bridge_leases where vm = ? and card = ?").run(vm, card)
}

/** The place of a VM's card; undefined when it has none. Pure. */
export function bridgeLeaseOf(
  leases: readonly BridgeLease[],
  of: Pick<BridgeLease, "vm" | "card">,
): BridgeLease | undefined {
  return leases.find(({ vm, card }) => vm === of.vm && card === of.card)
}

/** The places of all cards of all VMs on bridges of the user's, by bridge. Throws when one cannot be read. */
export function listBridgeLeases(db: Database): readonly BridgeLease[] {
  const rows = db.query("select * from bridge_leases order by bridge, vm, card").all()
  return rows.map((row) => v.parse(rowSchema, row))
}

// --- internal ---

function refuse(request: BridgeLease, all: readonly BridgeLease[], others: readonly Lease[]): void {
  const { bridge, address, mac, link } = request
  const sameMac = [...all, ...others].find((lease) => lease.mac === mac)
  if (sameMac !== undefined) {
    const hint = "leave network.mac out, and the VM gets one of its own"
    throw inUse(mac, `the MAC address ${mac} is in use by ${holderOf(sameMac)}`, hint)
  }
  const sameAddress = all.find((lease) => lease.bridge === bridge && lease.address === address && address !== undefined)
  if (sameAddress !== undefined) {
    const hint = "give each VM of the bridge an address of its own, or none"
    throw inUse(address ?? "", `the address ${address} is in use on ${bridge} by ${holderOf(sameAddress)}`, hint)
  }
  // Its name is made of the VM's id: another try has another one.
  const sameLink = [...all, ...others].find((lease) => lease.link === link)
  if (sameLink !== undefined) throw inUse(link, `the interface ${link} is in use by ${holderOf(sameLink)}`, "try again")
}

function inUse(subject: string, message: string, hint: string): Failure {
  return new Failure("IN_USE", message, { hint, subject })
}
