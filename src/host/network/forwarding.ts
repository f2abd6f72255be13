import { readFileSync } from "node:fs"
import { runSystem } from "../../store/files/programs.ts"
import { forwardBlockers, sayBlocker } from "../firewall/blockers.ts"
import { readSetting, writeSetting } from "./sysctl.ts"

/** Whether this host forwards IPv4 packets, and what to say about it. */
export interface Forwarding {
  readonly works: boolean
  readonly info: string | undefined
  readonly warnings: readonly string[]
}

/**
 * Whether this host forwards packets between its interfaces. IPv4 forwarding is switched on when it is `wanted`, and stays
 * on: others may have begun to rely on it. IPv6 forwarding is never switched on: a host that forwards ignores routers'
 * advertisements, and could lose its own way out.
 */
export function checkForwarding(wanted: boolean, ipv6: boolean): Forwarding {
  const off = readSetting("ipv4/ip_forward") === "0"
  if (off && wanted) writeSetting("ipv4/ip_forward", "1")
  const off6 = ipv6 && readSetting("ipv6/conf/all/forwarding") === "0"
  const only = "the guest reaches this host only"
  const how = "network: { forward: true } switches it on, or: sysctl -w net.ipv4.ip_forward=1"
  const how6 =
    "sysctl -w net.ipv6.conf.all.forwarding=1, and accept_ra=2 for the interface that this host's own router is on"
  return {
    works: !off || wanted,
    info: off && wanted ? "switched on net.ipv4.ip_forward, for all of this host; it stays on" : undefined,
    warnings: [
      ...(off && !wanted ? [`net.ipv4.ip_forward is off on this host: ${only} (${how})`] : []),
      ...(off6 ? [`net.ipv6.conf.all.forwarding is off on this host: by IPv6 ${only} (${how6})`] : []),
    ],
  }
}

/** As `blockersHere`, of what a bridge carries from one of its ports to another: the host's rules judge that only with br_netfilter. */
export function carryingBlockersHere(bridge: string): readonly string[] {
  if (readSetting("bridge/bridge-nf-call-iptables") !== "1") return []
  return blockersHere(bridge).map((said) => `net.bridge.bridge-nf-call-iptables is on: ${said}`)
}

/** Which other rules of this host drop what is forwarded for a bridge, in words, with the remedy. */
export function blockersHere(bridge: string): readonly string[] {
  const read = (path: string) => {
    try {
      return readFileSync(path, "latin1")
    } catch {
      // This kernel has no such file, or this user may not read it: then there is nothing to say.
      return undefined
    }
  }
  return (forwardBlockers({ run: runSystem, read }, bridge) ?? []).map((blocker) => sayBlocker(blocker, bridge))
}
