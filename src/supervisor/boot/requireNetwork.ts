import { Failure, type FailureCode } from "../../base/terms/failure.ts"
import { requireTapRights } from "../../host/network/refusals.ts"
import type { Spec } from "../../inputs/schema/vm.ts"

/** Throws a failure when a VMM cannot have the network that a spec asks for; `restored`: as a snapshot's guest has it. */
export function requireFitting({ network }: Pick<Spec, "network">, vmm: string, restored: boolean): void {
  if (network === false) return
  if (network.mode === "user" && vmm !== "qemu") {
    throw refused("UNSUPPORTED", `${vmm} has no user-mode network`, 'use vmm: "qemu", or network: true as root')
  }
  if (restored && (network.address === undefined || network.mac === undefined)) {
    const hint = "give network.address and network.mac as they were when the snapshot was taken"
    throw refused("BAD_PLUGIN", "the snapshot does not say which address its guest has", hint)
  }
}

/** Throws a failure when this user cannot have a network on this host. Nothing is made. */
export function requireNetwork({ network }: Pick<Spec, "network">, root: boolean): void {
  if (network !== false && network.mode !== "user") requireTapRights(network, root)
}

// --- internal ---

function refused(code: FailureCode, words: string, hint: string): Failure {
  return new Failure(code, `network: ${words}`, { hint, subject: "network" })
}
