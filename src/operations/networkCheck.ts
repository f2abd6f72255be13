import { withRoute } from "../base/linux/rtnetlink.ts"
import { CARD, parseAddress, parseSubnet } from "../base/terms/address.ts"
import { Failure, messageOf, usageError } from "../base/terms/failure.ts"
import { portFault } from "../host/bridge/port.ts"
import { portTableName, rulesCover } from "../host/bridge/portRules.ts"
import { requireUsersBridge } from "../host/bridge/usersBridge.ts"
import { ensureBridge, removeBridge } from "../host/network/bridge.ts"
import { checkPath, type Step } from "../host/network/check.ts"
import { forwardedElsewhere } from "../host/network/forwarding.ts"
import { linkName, macOf, ownerOf } from "../host/network/names.ts"
import { applyRules, nftProgram, tableText } from "../host/network/nft.ts"
import { findStrangers, strangerWords } from "../host/network/repair.ts"
import { planRules, ruledLeases } from "../host/network/rules.ts"
import { withNetworkLock } from "../host/network/turn.ts"
import { DEFAULT_BRIDGE, defaultSubnet, isBridgeName, isOwnBridge } from "../inputs/schema/network.ts"
import { listBridgeLeases } from "../store/state/bridgeLeases.ts"
import { freeLease, listLeases, takeLease } from "../store/state/leases.ts"
import type { State } from "../store/state/open.ts"
import { newVmId } from "../store/state/places.ts"
import { networkFaultsOf } from "../vm/status.ts"

/**
 * Sends packets as a guest on a bridge would, from a namespace that is thrown away, and tells how far they came. The
 * bridge is made for it where there is none, and goes again. Throws a failure when that much cannot be done.
 */
export function checkNetwork(state: State, bridge: string | undefined, target: string | undefined): readonly Step[] {
  const to = target === undefined ? undefined : parseAddress(target)
  if (target !== undefined && to === undefined)
    throw usageError(`--to ${target} is not an IPv4 address`, { subject: "--to" })
  if (process.geteuid?.() !== 0)
    throw new Failure("NEEDS_ROOT", "banger net check makes interfaces: only root can", { hint: "run it as root" })
  nftProgram()
  const name = bridge ?? DEFAULT_BRIDGE
  if (!isBridgeName(name)) throw usageError(`--bridge ${name} is not a name for a bridge`, { subject: "--bridge" })
  if (isOwnBridge(name)) return withNetworkLock(() => check(state, name, to))
  if (target !== undefined) {
    const hint = "its packets are not banger's: try it from a guest"
    throw usageError(`--to is for bridges of banger's own, and ${name} is not one`, { subject: "--to", hint })
  }
  return withNetworkLock(() => checkPorts(state, name))
}

// --- internal ---

/** Whether a bridge of the user's, and what banger has there, are as they should be: no packet is sent. */
function checkPorts({ db, where }: State, bridge: string): readonly Step[] {
  const leases = listBridgeLeases(db).filter((lease) => lease.bridge === bridge)
  const rules = tableText(portTableName(ownerOf(where.state)), "bridge")
  return withRoute((route) => {
    requireUsersBridge(route, { bridge })
    const told = leases.map((lease): Step => {
      const { vm, link, vlan } = lease
      const why = rulesCover(rules, lease)
        ? portFault(route, lease)
        : "its rules are gone: banger net rm makes them anew"
      const where = vlan === undefined ? "" : ` in VLAN ${vlan} alone`
      return { what: `${link} of ${vm} is a port of ${bridge}${where}, with its rules`, ok: why === undefined, why }
    })
    return [{ what: `${bridge} is a bridge of this host, and up`, ok: true }, ...told]
  })
}

function check(state: State, bridge: string, to: number | undefined): readonly Step[] {
  const { db, where } = state
  const owner = ownerOf(where.state)
  const subnet = listLeases(db).find((lease) => lease.bridge === bridge)?.subnet ?? parseSubnet(defaultSubnet(bridge))
  if (subnet === undefined) throw usageError(`--bridge ${bridge} has no subnet`, { subject: "--bridge" })
  const broken = brokenHere(state, bridge)
  const ports = listLeases(db).flatMap((one) => (one.bridge === bridge ? one.ports : []))
  const taken = forwardedElsewhere(ports).map((why): Step => ({ what: "ports are the guests' alone", ok: false, why }))
  const strangers = withRoute((route) =>
    findStrangers(route, new Set([bridge]), { owner, leases: listLeases(db) }),
  ).map((port): Step => {
    const { what, hint } = strangerWords(port)
    return { what: `only VMs are ports of ${bridge}`, ok: false, why: `${what}: ${hint}` }
  })
  const vm = newVmId("check")
  const settings = { ports: [], nat: true, isolate: true, ipv6: false, netns: true, number: undefined }
  const lease = takeLease(db, { vm, card: CARD, bridge, subnet, mac: macOf(vm), link: linkName(vm), ...settings })
  try {
    return withRoute((route) => {
      const wanted = listLeases(db).find((one) => one.bridge === bridge && one.mtu !== undefined)?.mtu
      const { index } = ensureBridge(route, { name: bridge, subnet, ipv6: false, owner, mtu: wanted })
      applyRules(planRules(owner, ruledLeases(listLeases(db))))
      return [...broken, ...strangers, ...taken, ...checkPath(route, lease, { bridge: index, owner, target: to })]
    })
  } finally {
    freeLease(db, { vm, card: CARD })
    const others = listLeases(db)
    applyRules(planRules(owner, ruledLeases(others)))
    if (!others.some((one) => one.bridge === bridge)) withRoute((route) => removeBridge(route, bridge, owner))
  }
}

function brokenHere(state: State, bridge: string): readonly Step[] {
  const here = new Set(listLeases(state.db).flatMap((one) => (one.bridge === bridge ? [one.vm] : [])))
  try {
    return networkFaultsOf(state)
      .filter(({ vm }) => here.has(vm))
      .map(({ vm, what, restorable }): Step => {
        const why = `${what}: ${restorable ? "banger net rm puts it back" : `banger restart ${vm}`}`
        return { what: `the network of ${vm} is whole`, ok: false, why }
      })
  } catch (error) {
    return [{ what: "the networks of VMs are whole", ok: false, why: `that cannot be told: ${messageOf(error)}` }]
  }
}
