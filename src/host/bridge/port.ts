import { filtersVlans, type Port, readPort } from "../../base/linux/bridges.ts"
import { findLink, listLinks } from "../../base/linux/links.ts"
import type { Route } from "../../base/linux/rtnetlink.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { shellWords } from "../../base/terms/shell.ts"
import type { BridgeLease } from "../../store/state/bridgeLeases.ts"
import { macOf } from "../network/names.ts"
import { applyRules } from "../network/nft.ts"
import { makeTap, removeTap, type TapPlan } from "../network/tap.ts"
import { planPortRules } from "./portRules.ts"
import { requireUsersBridge, type UsersBridge } from "./usersBridge.ts"

/** The tap to make on a bridge of the user's. */
export interface PortPlan extends Pick<TapPlan, "owner" | "user"> {
  readonly lease: BridgeLease
  /** All of this owner's on bridges of the user's, this one among them. */
  readonly leases: readonly BridgeLease[]
  readonly log: Pick<Log, "info" | "warn">
}

/**
 * Makes a card's tap on a bridge of the user's, behind its rules, and says what was left alone. Throws a failure when the bridge
 * is not the one that was leased, or the tap did not become the port that was asked for. The caller holds the network's lock. Returns
 * what a frame may carry there, in bytes.
 */
export function makePort(route: Route, { lease, leases, owner, user, log }: PortPlan): number {
  const { vm, bridge: name, link, mac, vlan, isolate } = lease
  const bridge = requireUsersBridge(route, lease)
  if (bridge.index !== lease.index)
    throw changed(name, `the bridge ${name} was replaced by another one while ${vm} was started`)
  applyRules(planPortRules(owner, leases))
  const guest = { mac: tapMac(owner, link), vlan }
  const { index, mtu } = bridge
  makeTap(route, { name: link, vm, owner, user, bridge: index, isolated: isolate, onlyMac: mac, mtu, guest })
  const port = requirePort(route, lease)
  log.info(saidOf(route, lease))
  if (port.vlans.length === 0 && filtersVlans(route, bridge))
    log.warn(
      `${name} filters VLANs and gives its new ports none: ${link} reaches nobody; network.vlan puts it into one`,
    )
  sayWhatChanged(route, bridge, log)
  return mtu
}

/** What of a tap on a bridge of the user's is released. */
export interface PortRemoval {
  readonly lease: BridgeLease
  /** All of this owner's on bridges of the user's, without this one. */
  readonly others: readonly BridgeLease[]
  readonly owner: string
  /** Whether the host has not been booted since the lease was taken: then the bridge is to be the same. */
  readonly sameBoot: boolean
  readonly warn: (text: string) => void
}

/**
 * Removes a card's tap, if it is this owner's, and its rules, and nothing else; a bridge that went away meanwhile, or another of its
 * name, is told of. What is gone already is fine. Throws a failure when the tap could not be proven gone: then its rules stay.
 */
export function removePort(route: Route, { lease, others, owner, sameBoot, warn }: PortRemoval): void {
  const { vm, bridge: name, link, index } = lease
  const names = others.filter((one) => one.vm === vm).map((one) => one.link)
  const removed = removeTap(route, link, { owner, vm, others: names })
  applyRules(planPortRules(owner, others))
  if (removed === "gone" || !sameBoot) return
  const bridge = findLink(route, name)
  if (bridge === undefined)
    warn(`the bridge ${name} went away while ${vm} had its tap ${link} there; the tap is removed`)
  else if (bridge.index !== index)
    warn(
      `the bridge ${name} was replaced by another one while ${vm} had its tap ${link} there: left alone; the tap is removed`,
    )
}

/** What of a port is not as its lease says, in words; undefined when all is. */
export function portFault(route: Route, lease: BridgeLease): string | undefined {
  const found = lookAtPort(route, lease)
  return typeof found === "string" ? found : undefined
}

// --- internal ---

/** The port of a lease, or what of it is not as the lease says. */
function lookAtPort(route: Route, { bridge: name, link, index, vlan, isolate }: BridgeLease): Port | string {
  const tap = findLink(route, link)
  if (tap === undefined) return `the tap ${link} is gone`
  if (tap.master !== index) return `the tap ${link} is no port of ${name}`
  if (!tap.up) return `the tap ${link} is down`
  const port = readPort(route, tap)
  const { vlans, isolated, learns, guarded } = port
  if (learns || !guarded) return `the tap ${link} is not tied to its guest's MAC address any more`
  if (isolate && !isolated) return `the tap ${link} is not isolated any more`
  if (vlan === undefined) return port
  if (!filtersVlans(route, { index, name })) return `${name} does not filter VLANs any more: the tap ${link} is in all`
  const [only] = vlans
  if (vlans.length === 1 && only?.id === vlan && only.pvid && only.untagged) return port
  const ids = vlans.map(({ id }) => id).join(", ")
  return `the tap ${link} is not in VLAN ${vlan} alone: it is in ${ids === "" ? "none" : ids}`
}

/** High, since a bridge without a MAC address of its own takes the lowest of its ports; no card's, which begin with 02. */
function tapMac(owner: string, link: string): string {
  return `fe${macOf(`${owner} ${link}`).slice(2)}`
}

function requirePort(route: Route, lease: BridgeLease): Port {
  const found = lookAtPort(route, lease)
  if (typeof found === "string") throw changed(lease.link, found)
  return found
}

function changed(subject: string, message: string): Failure {
  const hint = "something else changes this host's network: look for it, then start the VM again"
  return new Failure("CHANGED", message, { hint, subject })
}

function saidOf(route: Route, { bridge, link, vlan, index }: BridgeLease): string {
  const others = listLinks(route).filter(({ master, name }) => master === index && name !== link).length
  const where = vlan === undefined ? "" : `, in VLAN ${vlan} alone`
  const alone = `${bridge} itself, its addresses and its ${others === 1 ? "other port" : `${others} other ports`}`
  return `${link} is a port of ${bridge}${where}; left alone: ${alone}`
}

/** A bridge that nobody gave a MAC address takes one of its ports' (Linux, br_stp_recalculate_bridge_id()). */
function sayWhatChanged(route: Route, { name, mac }: UsersBridge, log: PortPlan["log"]): void {
  const now = findLink(route, name)
  if (now === undefined || now.mac === mac) return
  log.warn(
    `the bridge ${name} had the MAC address ${mac} by chance, and has one of its ports' now: ${shellWords(["ip", "link", "set", name, "address", mac])} gives it one that stays`,
  )
}
