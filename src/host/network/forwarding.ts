import { readFileSync } from "node:fs"
import { runSystem } from "../../store/files/programs.ts"
import { forwardBlockers, sayBlocker } from "./blockers.ts"
import { readSetting, writeSetting } from "./sysctl.ts"

/** What there is to say about forwarding, and whether IPv4 packets are passed on at all. */
export interface Forwarding {
  readonly works: boolean
  readonly info: string | undefined
  readonly warnings: readonly string[]
}

/**
 * Whether this host passes packets on between its interfaces. That of IPv4 is switched on when it is `wanted`, and stays
 * on: others may have begun to rely on it. That of IPv6 never is: a host that forwards takes no router's advertisements
 * any more, and could lose its own way out.
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

/** What of this host's other rules drops what is forwarded for a bridge, in words, with what to do. */
export function blockersHere(bridge: string): readonly string[] {
  const read = (path: string) => {
    try {
      return readFileSync(path, "latin1")
    } catch {
      // No such thing in this kernel, or not for us to read: then there is nothing to say.
      return undefined
    }
  }
  return (forwardBlockers({ run: runSystem, read }, bridge) ?? []).map((blocker) => sayBlocker(blocker, bridge))
}
