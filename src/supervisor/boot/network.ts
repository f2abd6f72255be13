import type { VmNetwork } from "banger"
import { withParameters } from "../../base/linux/commandLine.ts"
import { CARD, formatIpv6, ipv6Bytes, parseAddress } from "../../base/terms/address.ts"
import { messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { type DhcpServer, serveDhcp } from "../../host/dhcp/server.ts"
import { guestWords, hostNameServers, NAME_SERVER_HINT } from "../../host/network/guestWords.ts"
import { bridgeMac, ipv6Network, linkName, macOf } from "../../host/network/names.ts"
import type { Boot, Chosen } from "../../host/vmm/vmm.ts"
import { isOwnBridge, type NetworkSpec } from "../../inputs/schema/network.ts"
import type { VmLayout } from "../../store/state/places.ts"
import { bridgedNetwork, networkOf, ownerOfLayout, subnetOf, userNetwork } from "../../vm/network.ts"

/** A VM's place in its network. */
export interface LeasedNetwork {
  /** The VM's name. */
  readonly name: string
  readonly spec: NetworkSpec
  readonly network: VmNetwork
  readonly layout: VmLayout
  /** What the guest is to be told that a frame may carry; undefined: nothing. */
  readonly mtu: number | undefined
  /** The name servers that the guest is told. */
  readonly dns: readonly string[]
}

/** A boot with the network that its VM has. Pure. */
export function withNetwork(boot: Boot, { name, spec, network, layout, mtu, dns }: LeasedNetwork): Boot {
  const { interface: tap, mac, netns, address, prefix, gateway, ipv6 } = network
  const ports = spec.mode === "user" ? spec.ports : []
  const card = { tap, mac, ports, netns, mtu }
  // On a bridge of the user's a guest is told its address by others.
  if (address === undefined || prefix === undefined || gateway === undefined) return { ...boot, network: card }
  const gateway6 = formatIpv6(ipv6Bytes(ipv6Network(ownerOfLayout(layout), spec.bridge), 1))
  const other = ipv6 === undefined ? undefined : { address: ipv6, gateway: gateway6 }
  const words = guestWords(boot.bootArgs, { name, address, prefix, gateway, ipv6: other, dns })
  return { ...boot, bootArgs: withParameters(boot.bootArgs, words), network: card }
}

/**
 * Has a VM's guest told by DHCP what `ip=` says, as long as this process, or the one that it becomes, lives. Undefined where others
 * answer (QEMU in the user mode, a bridge of the user's), and with a warning where the host refuses: `ip=` is there all the same.
 */
export async function answerGuest(
  { name, spec, network, layout, dns }: Omit<LeasedNetwork, "mtu">,
  log: Log,
): Promise<DhcpServer | undefined> {
  const { address, prefix, gateway, interface: link, mac } = network
  if (spec.mode === "user" || !isOwnBridge(spec.bridge) || link === undefined || mac === undefined) return undefined
  if (address === undefined || prefix === undefined || gateway === undefined) return undefined
  const gatewayMac = bridgeMac(ownerOfLayout(layout), spec.bridge)
  try {
    return await serveDhcp(link, { name, mac, address, prefix, gateway, gatewayMac, dns })
  } catch (error) {
    log.warn(`a guest that asks for its address by DHCP gets no answer: ${messageOf(error)}`)
    return undefined
  }
}

/** The name servers that a guest is told: those of the spec, else the host's. `warning`: why there are none. */
export function toldNameServers({ mode, dns, nat, bridge }: NetworkSpec): {
  readonly dns: readonly string[]
  readonly warning: string | undefined
} {
  // QEMU itself answers there, and asks the host's.
  if (mode === "user") return { dns: ["10.0.2.3"], warning: undefined }
  if (dns !== undefined || !nat || !isOwnBridge(bridge)) return { dns: dns ?? [], warning: undefined }
  const { servers, why } = hostNameServers()
  return { dns: servers, warning: why && `the guest has no name server: ${why}; ${NAME_SERVER_HINT}` }
}

/**
 * What a guest is to be told of its card's MTU: nothing where it is what every card carries; and a guest that its VMM cannot tell must
 * set it itself. Pure.
 */
export function toldMtu(
  mtu: number | undefined,
  { vmm, program }: Chosen,
): { readonly mtu: number | undefined; readonly warning: string | undefined } {
  if (mtu === undefined || mtu === 1500) return { mtu: undefined, warning: undefined }
  if (vmm.tellsMtu(program)) return { mtu, warning: undefined }
  const warning = `this ${vmm.name} cannot tell its guest that a frame may carry ${mtu} bytes: in the guest, ip link set eth0 mtu ${mtu}`
  return { mtu: undefined, warning: mtu > 1500 ? warning : undefined }
}

/** The network that a plan shows: the one that the first VM of an empty host would get. Pure. */
export function plannedNetwork(id: string, spec: NetworkSpec, layout: VmLayout): VmNetwork {
  if (spec.mode === "user") return userNetwork(spec)
  const { bridge, ports, nat, isolate, ipv6, netns, address, vlan, mtu } = spec
  const of = { vm: id, card: CARD, bridge, link: linkName(id), mac: spec.mac ?? macOf(id), isolate }
  if (!isOwnBridge(bridge)) return bridgedNetwork({ ...of, address, vlan })
  const subnet = subnetOf(spec)
  const number = address === undefined ? 2 : (parseAddress(address) ?? 0) - subnet.base
  return networkOf({ ...of, subnet, number, ports, nat, ipv6, netns, mtu }, layout)
}
