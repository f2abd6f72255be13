import { type Link, listLinks } from "../../base/linux/links.ts"
import { listAddresses, listRoutes } from "../../base/linux/routes.ts"
import type { Route } from "../../base/linux/rtnetlink.ts"
import {
  addressOf,
  formatAddress,
  formatSubnet,
  networkOf,
  overlap,
  parseSubnet,
  type Subnet,
} from "../../base/terms/address.ts"
import { Failure } from "../../base/terms/failure.ts"

/** A network that this host has already. */
export interface Known {
  readonly subnet: Subnet
  /** The interface it is on, where there is one. */
  readonly link: Link | undefined
  /** The host's own address in it; undefined: only a route leads there. */
  readonly address: string | undefined
}

/** Shorter prefixes are default routes (a VPN splits its own in two), and do not claim a subnet. */
const PREFIX_MIN_BITS = 8

/** The networks of this host's routes and addresses, except those of the interface `except`. */
export function knownNetworks(route: Route, except: number | undefined): readonly Known[] {
  const links = new Map(listLinks(route).map((link) => [link.index, link]))
  const networks = [
    ...listAddresses(route).map(({ index, address, prefix }) => ({
      ...known(links.get(index), address, prefix),
      address: formatAddress(addressOf(address)),
    })),
    ...listRoutes(route).map(({ index, to, prefix }) =>
      known(index === undefined ? undefined : links.get(index), to, prefix),
    ),
  ]
  return networks.filter(
    ({ link, subnet }) => subnet.prefix >= PREFIX_MIN_BITS && (link === undefined || link.index !== except),
  )
}

/** The failure of a subnet that overlaps another network of this host. Pure. */
export function collision(subnet: Subnet, other: Known, all: readonly Known[]): Failure {
  const where = other.link === undefined ? "" : ` on ${other.link.name}`
  const what =
    other.address === undefined
      ? `route to ${formatSubnet(other.subnet)}`
      : `address ${other.address}/${other.subnet.prefix}`
  const free = freeSubnet(all)
  const hint =
    free === undefined
      ? "choose another: network: { subnet }"
      : `this one is free: network: { subnet: "${formatSubnet(free)}" }`
  const message = `the subnet ${formatSubnet(subnet)} overlaps the ${what} that this host has${where}`
  return new Failure("IN_USE", message, { hint, subject: formatSubnet(subnet) })
}

/** The first network that a subnet collides with. Pure. */
export function firstCollision(subnet: Subnet, all: readonly Known[]): Known | undefined {
  return all.find((known) => overlap(known.subnet, subnet))
}

// --- internal ---

function known(link: Link | undefined, bytes: Uint8Array, prefix: number): Known {
  return { subnet: { base: networkOf(addressOf(bytes), prefix), prefix }, link, address: undefined }
}

/** A subnet to propose instead. */
function freeSubnet(all: readonly Known[]): Subnet | undefined {
  const proposals = Array.from({ length: 40 }, (_, at) => parseSubnet(`10.${213 + at}.0.0/16`))
  return proposals.find((subnet) => subnet !== undefined && firstCollision(subnet, all) === undefined)
}
