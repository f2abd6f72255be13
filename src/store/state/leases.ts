import type { Database } from "bun:sqlite"
import * as v from "valibot"
import {
  CARD,
  formatAddress,
  formatSubnet,
  guestNumbers,
  parseSubnet,
  type Subnet,
  sizeOf,
} from "../../base/terms/address.ts"
import { Failure } from "../../base/terms/failure.ts"
import { clash, hostSide } from "../../base/terms/ports.ts"

// These words go into rules of the firewall: a record with any other form is not believed.
const portNumber = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535))
const portSchema = v.object({
  protocol: v.picklist(["tcp", "udp"]),
  address: v.optional(v.pipe(v.string(), v.ipv4())),
  host: portNumber,
  guest: portNumber,
})
const linkName = v.pipe(v.string(), v.regex(/^bgr[a-z0-9-]{1,12}$/, "not a name for an interface of banger's"))

/** What else a lease says, besides its VM and place. */
const detailSchema = v.object({
  ports: v.array(portSchema),
  nat: v.boolean(),
  isolate: v.boolean(),
  ipv6: v.boolean(),
  netns: v.boolean(),
  /** What the plugin says that a frame may carry, in bytes; undefined: what this host's way out carries. */
  mtu: v.optional(v.pipe(v.number(), v.integer(), v.minValue(68), v.maxValue(65_535))),
})

const rowSchema = v.pipe(
  v.object({
    vm: v.string(),
    /** Which of the VM's network cards it is for. */
    card: v.pipe(v.string(), v.regex(/^[a-z0-9_]{1,20}$/, "not a network card's id")),
    bridge: linkName,
    subnet: v.string(),
    number: v.pipe(v.number(), v.integer(), v.minValue(2), v.maxValue(2 ** 24)),
    mac: v.pipe(v.string(), v.regex(/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/, "not a MAC address")),
    link: linkName,
    detail: v.pipe(v.string(), v.parseJson(), detailSchema),
  }),
  v.transform(({ subnet, detail, ...row }) => ({ ...row, ...detail, subnet: subnetOf(subnet) })),
)

/** The place of a VM's network card in a network: an address, a MAC and an interface's name that no other card has. */
export type Lease = v.InferOutput<typeof rowSchema>

/** What a card asks for. `number`: the address, counted from the subnet's lowest; undefined takes the one that is free longest. */
export type LeaseRequest = Omit<Lease, "number"> & { readonly number: number | undefined }

/**
 * Gives a card its place, in one transaction. Throws a failure, with nothing taken, when the address, the MAC or a port is
 * another card's, the bridge has another subnet, or no address is free. A card that has one already gets the same again.
 */
export function takeLease(db: Database, request: LeaseRequest): Lease {
  const take = db.transaction(() => {
    const all = listLeases(db)
    const own = leaseOf(all, request)
    if (own !== undefined) return own
    refuse(request, all)
    refuseMac(db, request)
    const { subnet, vm, card, bridge, mac, link, number: wanted, ...detail } = request
    const taken = new Set(all.filter((lease) => lease.bridge === bridge).map(({ number }) => number))
    const number = wanted ?? freeNumber(request, taken, freedLast(db))
    const values = { vm, card, bridge, subnet: formatSubnet(subnet), number, mac, link, detail: JSON.stringify(detail) }
    db.query(
      `insert into leases (vm, card, bridge, subnet, number, mac, link, detail)
       values ($vm, $card, $bridge, $subnet, $number, $mac, $link, $detail)`,
    ).run(values)
    return { ...request, number }
  })
  return take.immediate()
}

/** Gives back a card's place, and its address to be given out last. A card without one is fine. */
export function freeLease(db: Database, { vm, card }: Pick<Lease, "vm" | "card">): void {
  const free = db.transaction(() => {
    const row = db.query("delete from leases where vm = ? and card = ? returning subnet, number").get(vm, card)
    if (row === null) return
    const { subnet, number } = v.parse(v.object({ subnet: v.string(), number: v.number() }), row)
    db.query("insert or replace into freed_addresses (address) values (?)").run(subnetOf(subnet).base + number)
    db.query("delete from freed_addresses where at <= (select max(at) from freed_addresses) - ?").run(FREED_MAX_COUNT)
  })
  free.immediate()
}

/** The place of a VM's card; undefined when it has none. Pure. */
export function leaseOf(leases: readonly Lease[], of: Pick<Lease, "vm" | "card">): Lease | undefined {
  return leases.find(({ vm, card }) => vm === of.vm && card === of.card)
}

/** The places of all cards of all VMs, by bridge and address. Throws when one cannot be read. */
export function listLeases(db: Database): readonly Lease[] {
  const rows = db.query("select * from leases order by bridge, number").all()
  return rows.map((row) => v.parse(rowSchema, row))
}

/** The address of a VM's own card; undefined when it has none, or what is written there cannot be read. */
export function addressOf(db: Database, vm: string): string | undefined {
  const row = db.query("select subnet, number from leases where vm = ? and card = ?").get(vm, CARD)
  const { success, output } = v.safeParse(v.object({ subnet: v.string(), number: v.number() }), row)
  const subnet = success ? parseSubnet(output.subnet) : undefined
  return success && subnet !== undefined ? formatAddress(subnet.base + output.number) : undefined
}

/** Throws IN_USE when one of these ports of the host leads to another card. */
export function requireFreePorts({ ports }: Pick<Lease, "ports">, all: readonly Lease[]): void {
  for (const lease of all) {
    const port = ports.find((own) => lease.ports.some((other) => clash(own, other)))
    if (port === undefined) continue
    const hint = "choose another port, or stop that VM"
    throw inUse(hostSide(port), `the port ${hostSide(port)} is in use by ${holderOf(lease)}`, hint)
  }
}

/** Whose a lease is, for a message: the VM, and which of its cards when it has more than the plugin's. Pure. */
export function holderOf({ vm, card }: Pick<Lease, "vm" | "card">): string {
  return card === CARD ? `the VM ${vm}` : `the card ${card} of the VM ${vm}`
}

// --- internal ---

const MAC_HINT = "leave network.mac out, and the VM gets one of its own"

function subnetOf(text: string): Subnet {
  const subnet = parseSubnet(text)
  if (subnet === undefined) {
    const message = `a lease in the state database has ${JSON.stringify(text)} in the place of a subnet`
    throw new Failure("BAD_STATE", message, { hint: "restore state.db, or remove the lease's VM" })
  }
  return subnet
}

function refuse(request: LeaseRequest, all: readonly Lease[]): void {
  const { bridge, subnet, number, mac, link, ports, mtu } = request
  const asked = formatSubnet(subnet)
  for (const lease of all) {
    if (lease.bridge === bridge && formatSubnet(lease.subnet) !== asked) {
      const hint = `leave network.subnet out, give ${formatSubnet(lease.subnet)}, or choose another bridge: network: { bridge: "bgr1", subnet: "${asked}" }`
      throw inUse(bridge, `the bridge ${bridge} has the subnet ${formatSubnet(lease.subnet)}, not ${asked}`, hint)
    }
    if (lease.bridge === bridge && mtu !== undefined && lease.mtu !== mtu) {
      const is = lease.mtu === undefined ? "the MTU of this host's way out" : `the MTU ${lease.mtu}`
      const hint = `leave network.mtu out, or choose another bridge: network: { bridge: "bgr1", mtu: ${mtu} }`
      throw inUse(bridge, `the bridge ${bridge} of ${holderOf(lease)} has ${is}, not ${mtu}`, hint)
    }
    if (lease.bridge === bridge && lease.number === number) {
      const address = formatAddress(subnet.base + lease.number)
      const hint = "leave network.address out, and the VM gets one that is free"
      throw inUse(address, `the address ${address} is in use by ${holderOf(lease)}`, hint)
    }
    if (lease.mac === mac) {
      throw inUse(mac, `the MAC address ${mac} is in use by ${holderOf(lease)}`, MAC_HINT)
    }
    // Its name is made of the VM's id: another try has another one.
    if (lease.link === link) throw inUse(link, `the interface ${link} is in use by ${holderOf(lease)}`, "try again")
  }
  requireFreePorts({ ports }, all)
}

/** The other table has the cards on bridges of the user's. */
function refuseMac(db: Database, { mac }: LeaseRequest): void {
  const row = db.query("select vm, card from bridge_leases where mac = ?").get(mac)
  if (row === null) return
  const holder = holderOf(v.parse(v.object({ vm: v.string(), card: v.string() }), row))
  throw inUse(mac, `the MAC address ${mac} is in use by ${holder}`, MAC_HINT)
}

/** How many addresses that were given back are remembered: a network that has more free ones gives out others before. */
const FREED_MAX_COUNT = 1024

/** The addresses that were given back last, the one that is free longest first. */
function freedLast(db: Database): readonly number[] {
  const rows = db.query("select address from freed_addresses order by at").all()
  return rows.map((row) => v.parse(v.object({ address: v.number() }), row).address)
}

/** What is still sent to the VM that had an address before is to reach nobody for as long as can be. */
function freeNumber({ bridge, subnet }: LeaseRequest, taken: ReadonlySet<number>, freed: readonly number[]): number {
  const { first, last } = guestNumbers(subnet)
  const late = freed.map((address) => address - subnet.base)
  const isLate = new Set(late)
  for (let number = first; number <= last; number++) if (!taken.has(number) && !isLate.has(number)) return number
  const longest = late.find((number) => number >= first && number <= last && !taken.has(number))
  if (longest !== undefined) return longest
  const hint = "remove VMs that have ended, or choose another bridge with a larger subnet"
  const count = sizeOf(subnet.prefix) - 3
  throw inUse(
    bridge,
    `the subnet ${formatSubnet(subnet)} of ${bridge} is full: all ${count} of its addresses are in use`,
    hint,
  )
}

function inUse(subject: string, message: string, hint: string): Failure {
  return new Failure("IN_USE", message, { hint, subject })
}
