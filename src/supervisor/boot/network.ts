import type { VmNetwork } from "banger"
import { CARD, formatIpv6, ipv6Bytes, parseAddress } from "../../base/terms/address.ts"
import { guestWords, hostNameServers } from "../../host/network/guestWords.ts"
import { ipv6Network, linkName, macOf } from "../../host/network/names.ts"
import type { Boot } from "../../host/vmm/vmm.ts"
import type { NetworkSpec } from "../../inputs/schema/network.ts"
import type { VmLayout } from "../../store/state/places.ts"
import { networkOf, ownerOfLayout, subnetOf, userNetwork } from "../../vm/network.ts"

/** A VM's place in its network. */
export interface LeasedNetwork {
  /** The VM's name. */
  readonly name: string
  readonly spec: NetworkSpec
  readonly network: VmNetwork
  readonly layout: VmLayout
}

/** A boot with the network that its VM has. Pure, but for the host's name servers. */
export function withNetwork(boot: Boot, { name, spec, network, layout }: LeasedNetwork): Boot {
  if (spec.mode === "user") {
    return { ...boot, network: { tap: undefined, mac: spec.mac, ports: spec.ports, netns: undefined } }
  }
  const { interface: tap, mac, netns, address, prefix, gateway, ipv6 } = network
  const dns = spec.dns ?? (spec.nat ? hostNameServers() : [])
  const gateway6 = formatIpv6(ipv6Bytes(ipv6Network(ownerOfLayout(layout), spec.bridge), 1))
  const other = ipv6 === undefined ? undefined : { address: ipv6, gateway: gateway6 }
  const words = guestWords(boot.bootArgs, { name, address, prefix, gateway, ipv6: other, dns })
  return { ...boot, bootArgs: [boot.bootArgs, ...words].join(" "), network: { tap, mac, ports: [], netns } }
}

/** The network that a plan shows: the one that the first VM of an empty host would get. Pure. */
export function plannedNetwork(id: string, spec: NetworkSpec, layout: VmLayout): VmNetwork {
  if (spec.mode === "user") return userNetwork(spec)
  const subnet = subnetOf(spec)
  const number = spec.address === undefined ? 2 : (parseAddress(spec.address) ?? 0) - subnet.base
  const { bridge, ports, nat, isolate, ipv6, netns } = spec
  const lease = { vm: id, card: CARD, bridge, subnet, number, link: linkName(id), ports, nat, isolate, ipv6, netns }
  return networkOf({ ...lease, mac: spec.mac ?? macOf(id) }, layout)
}
