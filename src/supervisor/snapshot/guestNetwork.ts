import { Failure } from "../../base/terms/failure.ts"
import type { ResolvedPlugin } from "../../inputs/plugin/resolved.ts"
import { isOfGuest, isOwnBridge } from "../../inputs/schema/network.ts"
import type { Snapshot } from "./manifest.ts"

/**
 * A plugin whose network has the address and the MAC of a snapshot's guest, where it names no others. Throws a failure that
 * names the setting when the guest cannot have the plugin's network: a restored guest has the card that it had. Pure.
 */
export function withGuestNetwork(plugin: ResolvedPlugin, { dir, network: saved }: Snapshot): ResolvedPlugin {
  const { network } = plugin.spec
  // Of one that an older banger took nothing is known; a user-mode network is refused by itself.
  if (saved === undefined || (network !== false && network.mode === "user")) return plugin
  if (network === false) {
    if (saved === null) return plugin
    const hint = "give the plugin the network that it had when the snapshot was taken: network: true"
    throw refused("network", `the guest of ${dir} has a network card, with ${saved.address ?? saved.mac}`, hint)
  }
  if (saved === null)
    throw refused(
      "network",
      `the guest of ${dir} has no network card`,
      "leave it out, or boot the VM and save it again",
    )
  const { mac = saved.mac, bridge, subnet } = network
  // On a bridge of the user's a guest is bound to an address by the plugin alone.
  const address = network.address ?? (isOwnBridge(bridge) ? saved.address : undefined)
  if (isOwnBridge(bridge) && address === undefined) {
    const hint = "give network.bridge as it was when the snapshot was taken, or the guest's address: network.address"
    throw refused("network.bridge", `the guest of ${dir} had its address from others, not on ${bridge}`, hint)
  }
  if (address !== undefined && !isOfGuest(subnet, address)) {
    const hint = "give network.bridge and network.subnet as they were when the snapshot was taken"
    throw refused("network.subnet", `the guest of ${dir} has ${address}, which is not in ${subnet}`, hint)
  }
  const given = plugin.written.network === true ? {} : (plugin.written.network as object)
  const kept = { ...(address === undefined ? {} : { address }), mac }
  return {
    ...plugin,
    spec: { ...plugin.spec, network: { ...network, ...kept } },
    written: { ...plugin.written, network: { ...given, ...kept } },
  }
}

// --- internal ---

function refused(setting: string, words: string, hint: string): Failure {
  return new Failure("BAD_PLUGIN", `${setting}: ${words}`, { hint, subject: setting })
}
