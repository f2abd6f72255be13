import { readFileSync } from "node:fs"
import { Failure, type FailureCode } from "../../base/terms/failure.ts"
import { nftProgram } from "../../host/network/nft.ts"
import { needsRules } from "../../host/network/rules.ts"
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
  if (network === false || network.mode === "user") return
  if (!root) {
    const hint = 'run banger as root, or use network: "user", which needs no privilege (QEMU only)'
    throw refused("NEEDS_ROOT", "only root can make a tap and a bridge (CAP_NET_ADMIN)", hint)
  }
  if (!mayChangeNetwork()) {
    const hint = 'in a container: --cap-add NET_ADMIN; or use network: "user" (QEMU only)'
    throw refused("NEEDS_ROOT", "this root is without CAP_NET_ADMIN, which a tap, a bridge and rules need", hint)
  }
  if (needsRules(network)) nftProgram()
}

// --- internal ---

function refused(code: FailureCode, words: string, hint: string): Failure {
  return new Failure(code, `network: ${words}`, { hint, subject: "network" })
}

/** capabilities(7). */
const CAP_NET_ADMIN = 12n

/** Reads the effective capabilities of this process; where they cannot be read, the kernel will refuse or not. */
function mayChangeNetwork(): boolean {
  const [, hex] = /^CapEff:\t([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1")) ?? []
  return hex === undefined || ((BigInt(`0x${hex}`) >> CAP_NET_ADMIN) & 1n) === 1n
}
