import { CARD } from "../../base/terms/address.ts"
import type { Devices } from "../../host/vmm/vmm.ts"
import type { VmLayout } from "../../store/state/places.ts"
import type { Journal } from "../../vm/journal.ts"
import { disconnectNetwork, type NetworkResource, networksOf } from "../../vm/network.ts"

/** A VM whose network cards come and go, and whose journal this process writes. */
export interface CardSession {
  readonly layout: VmLayout
  readonly journal: Pick<Journal, "db" | "resources" | "refine" | "keepOnly">
}

/** What brings a change of a card to its end. */
export interface CardSettling {
  readonly session: CardSession
  readonly devices: Pick<Devices, "cards">
  /** Is told what was released, but not as expected. */
  readonly warn: (text: string) => void
}

/**
 * Brings the coming or going of network cards to its end, wherever it stands: a card that the VMM has stays, and what was
 * made for another one goes. Repeating it is fine, and so is a VM without such a change.
 */
export async function settleCards({ session, devices, warn }: CardSettling): Promise<void> {
  const { journal, layout } = session
  const changing = networksOf(journal.resources).filter((one) => one.plugging === true)
  if (changing.length === 0) return
  const there = await devices.cards()
  for (const network of changing) {
    if (there.includes(network.card ?? CARD)) {
      const { plugging: _, ...stays } = network
      journal.refine(stays)
    } else {
      // A VMM that says so falsely still holds its tap, which is never taken from it.
      await disconnectNetwork(network, { db: journal.db, layout, warn })
      journal.keepOnly(journal.resources.filter((resource) => resource !== network))
    }
  }
}

/** Writes on the journal that a card goes. */
export function writeGoing({ journal }: CardSession, network: NetworkResource): void {
  journal.refine({ ...network, plugging: true })
}
