import { CARD } from "../../base/terms/address.ts"
import { asFailure, type Failure, inOneLine } from "../../base/terms/failure.ts"
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

/** A card whose change is not at its end, and why. */
export interface Unsettled {
  readonly card: string
  readonly why: Failure
}

/**
 * Brings the coming or going of network cards to its end, wherever it stands: a card that the VMM has stays, and what was
 * made for another one goes. Repeating it is fine, and so is a VM without such a change. Returns the cards of which that failed:
 * they keep no other from it, and the journal still has them. Throws a failure when the VMM does not tell its cards.
 */
export async function settleCards({ session, devices, warn }: CardSettling): Promise<readonly Unsettled[]> {
  const { journal, layout } = session
  const changing = networksOf(journal.resources).filter((one) => one.plugging === true)
  if (changing.length === 0) return []
  const there = await devices.cards()
  const unsettled: Unsettled[] = []
  for (const network of changing) {
    const card = network.card ?? CARD
    try {
      if (there.includes(card)) {
        const { plugging: _, ...stays } = network
        journal.refine(stays)
      } else {
        // A VMM that says so falsely still holds its tap, which is never taken from it.
        await disconnectNetwork(network, { db: journal.db, layout, warn })
        journal.keepOnly(journal.resources.filter((resource) => resource !== network))
      }
    } catch (error) {
      unsettled.push({ card, why: asFailure(error, "NOT_RELEASED") })
    }
  }
  return unsettled
}

/** What there is to say about such a card. */
export function unsettledText(card: string, why: Failure): string {
  return `network card ${card} was coming or going, and is not settled: ${inOneLine(why)}`
}

/** Writes on the journal that a card goes. */
export function writeGoing({ journal }: CardSession, network: NetworkResource): void {
  journal.refine({ ...network, plugging: true })
}
