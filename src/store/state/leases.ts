import type { Database } from "bun:sqlite"
import * as v from "valibot"
import {
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
})

const rowSchema = v.pipe(
  v.object({
    vm: v.string(),
    bridge: linkName,
    subnet: v.string(),
    number: v.pipe(v.number(), v.integer(), v.minValue(2), v.maxValue(2 ** 24)),
    mac: v.pipe(v.string(), v.regex(/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/, "not a MAC address")),
    link: linkName,
    detail: v.pipe(v.string(), v.parseJson(), detailSchema),
  }),
  v.transform(({ subnet, detail, ...row }) => ({ ...row, ...detail, subnet: subnetOf(subnet) })),
)

/** A VM's place in a network: an address, a MAC and an interface's name that no other VM has. */
export type Lease = v.InferOutput<typeof rowSchema>

/** What a VM asks for. `number`: the address, counted from the subnet's lowest; undefined takes the first that is free. */
export type LeaseRequest = Omit<Lease, "number"> & { readonly number: number | undefined }

/**
 * Gives a VM its place, in one transaction. Throws a failure, with nothing taken, when the address, the MAC or a port is
 * another VM's, the bridge has another subnet, or no address is free. A VM that has one already gets the same again.
 */
export function takeLease(db: Database, request: LeaseRequest): Lease {
  const take = db.transaction(() => {
    const all = listLeases(db)
    const own = all.find(({ vm }) => vm === request.vm)
    if (own !== undefined) return own
    refuse(request, all)
    const { subnet, vm, bridge, mac, link, number: wanted, ...detail } = request
    const taken = new Set(all.filter((lease) => lease.bridge === bridge).map(({ number }) => number))
    const number = wanted ?? freeNumber(request, taken)
    const values = { vm, bridge, subnet: formatSubnet(subnet), number, mac, link, detail: JSON.stringify(detail) }
    db.query(
      `insert into leases (vm, bridge, subnet, number, mac, link, detail)
       values ($vm, $bridge, $subnet, $number, $mac, $link, $detail)`,
    ).run(values)
    return { ...request, number }
  })
  return take.immediate()
}

/** Gives back a VM's place. A VM without one is fine. */
export function freeLease(db: Database, vm: string): void {
  db.query("delete from leases where vm = ?").run(vm)
}

/** The places of all VMs, by bridge and address. Throws when one cannot be read. */
export function listLeases(db: Database): readonly Lease[] {
  const rows = db.query("select * from leases order by bridge, number").all()
  return rows.map((row) => v.parse(rowSchema, row))
}

// --- internal ---

function subnetOf(text: string): Subnet {
  const subnet = parseSubnet(text)
  if (subnet === undefined) {
    const message = `a lease in the state database has ${JSON.stringify(text)} in the place of a subnet`
    throw new Failure("BAD_STATE", message, { hint: "restore state.db, or remove the lease's VM" })
  }
  return subnet
}

function refuse(request: LeaseRequest, all: readonly Lease[]): void {
  const { bridge, subnet, number, mac, link, ports } = request
  const asked = formatSubnet(subnet)
  for (const lease of all) {
    if (lease.bridge === bridge && formatSubnet(lease.subnet) !== asked) {
      const hint = `leave network.subnet out, give ${formatSubnet(lease.subnet)}, or choose another bridge: network: { bridge: "bgr1", subnet: "${asked}" }`
      throw inUse(bridge, `the bridge ${bridge} has the subnet ${formatSubnet(lease.subnet)}, not ${asked}`, hint)
    }
    if (lease.bridge === bridge && lease.number === number) {
      const address = formatAddress(subnet.base + lease.number)
      const hint = "leave network.address out, and the VM gets one that is free"
      throw inUse(address, `the address ${address} is in use by the VM ${lease.vm}`, hint)
    }
    if (lease.mac === mac) {
      const hint = "leave network.mac out, and the VM gets one of its own"
      throw inUse(mac, `the MAC address ${mac} is in use by the VM ${lease.vm}`, hint)
    }
    // Its name is made of the VM's id: another try has another one.
    if (lease.link === link) throw inUse(link, `the interface ${link} is in use by the VM ${lease.vm}`, "try again")
    const port = ports.find((own) => lease.ports.some((other) => clash(own, other)))
    if (port !== undefined) {
      const hint = "choose another port, or stop that VM"
      throw inUse(hostSide(port), `the port ${hostSide(port)} is in use by the VM ${lease.vm}`, hint)
    }
  }
}

function freeNumber({ bridge, subnet }: LeaseRequest, taken: ReadonlySet<number>): number {
  const { first, last } = guestNumbers(subnet)
  for (let number = first; number <= last; number++) if (!taken.has(number)) return number
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
