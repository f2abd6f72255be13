import { withRoute } from "../../base/linux/rtnetlink.ts"
import { Failure, type FailureCode } from "../../base/terms/failure.ts"
import { requireBridgeAndRules } from "../../host/bridge/usersBridge.ts"
import { requireTapRights } from "../../host/network/refusals.ts"
import { isOwnBridge } from "../../inputs/schema/network.ts"
import type { Spec } from "../../inputs/schema/vm.ts"

/** Throws a failure when a VMM cannot have the network that a spec asks for; `restored`: as a snapshot's guest has it. */
export function requireFitting({ network }: Pick<Spec, "network">, vmm: string, restored: boolean): void {
  if (network === false) return
  if (network.mode === "user" && vmm !== "qemu") {
    throw refused("UNSUPPORTED", `${vmm} has no user-mode network`, 'use vmm: "qemu", or network: true as root')
  }
  // On a bridge of the user's the guest has its address from others, and keeps it.
  const own = network.mode === "tap" && isOwnBridge(network.bridge)
  if (restored && ((own && network.address === undefined) || network.mac === undefined)) {
    const which = own ? "network.address and network.mac" : "network.mac"
    const hint = `give ${which} as when the snapshot was taken`
    throw refused("BAD_PLUGIN", "the snapshot does not say which address its guest has", hint)
  }
}

/** Throws a failure when this user cannot have a network on this host, or its bridge is not there. Nothing is made. */
export function requireNetwork({ network }: Pick<Spec, "network">, root: boolean): void {
  if (network === false || network.mode === "user") return
  requireTapRights(network, root)
  if (!isOwnBridge(network.bridge)) withRoute((route) => requireBridgeAndRules(route, network))
}

// --- internal ---

function refused(code: FailureCode, words: string, hint: string): Failure {
  return new Failure(code, `network: ${words}`, { hint, subject: "network" })
}
