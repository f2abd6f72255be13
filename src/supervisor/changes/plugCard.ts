import type { VmNetwork } from "banger"
import { CARD } from "../../base/terms/address.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { nearest } from "../../base/terms/nearest.ts"
import { listed } from "../../base/terms/printable.ts"
import { requireTapRights } from "../../host/network/refusals.ts"
import { isSameNamespace, networkNamespaceOf } from "../../host/process/networkNamespace.ts"
import { ownNamespace } from "../../host/process/procfs.ts"
import type { Devices } from "../../host/vmm/vmm.ts"
import type { CardSpec } from "../../inputs/schema/network.ts"
import { entryOf } from "../../vm/journal.ts"
import { connectNetwork, isElsewhere, leaseNetwork, networksOf } from "../../vm/network.ts"
import type { Session } from "../../vm/session.ts"
import { openRunningJail } from "./settle.ts"
import { settleCards, unsettledText, writeGoing } from "./settleCards.ts"

/** A running VM whose network cards come and go. */
export interface PluggingVm {
  readonly session: Pick<Session, "id" | "db" | "layout" | "journal">
  readonly devices: Devices
  readonly log: Log
}

/**
 * Plugs a network card into a running VM: its place in a network, its tap that only the VMM can open, its rules. Returns the
 * place. Throws a failure, with nothing left, when the host or the VMM refuses.
 */
export async function addCard(
  vm: PluggingVm,
  { id, network, settings }: CardSpec,
  { signal: interrupt }: { readonly signal: AbortSignal },
): Promise<VmNetwork> {
  const { session, devices, log } = vm
  requireTapRights(network, process.geteuid?.() === 0)
  requireHere(session)
  await devices.requirePlugging()
  await settle(vm, id)
  if (id === CARD || (await devices.cards()).includes(id))
    throw new Failure("BAD_PLUGIN", `a card is called ${id} already`, { hint: "give it another id", subject: id })
  try {
    const place = leaseNetwork(session, network, id)
    const carries = await connectNetwork(session, network, { card: id, user: ownerOf(session), log, interrupt })
    const { interface: tap = "", mac = "" } = place
    interrupt.throwIfAborted()
    // A release that plugs cards in can tell of an MTU.
    const mtu = carries === undefined || carries === 1500 ? {} : { mtu: carries }
    await devices.addCard({ id, tap, mac, ...mtu, ...settings })
    await settle(vm, id)
    return place
  } catch (error) {
    // Where the VMM did not answer, this or a later one finds out what it did.
    await settle(vm, id).catch(() => {})
    throw error
  }
}

/**
 * Takes a network card out of a running VM, and releases its tap, its address and its rules. Throws a failure, with the card
 * still there, when the VMM refuses.
 */
export async function removeCard(vm: PluggingVm, id: string): Promise<void> {
  const { session, devices } = vm
  await devices.requirePlugging()
  await settle(vm, id)
  requireCard(await devices.cards(), id)
  const network = networksOf(session.journal.resources).find(({ card = CARD }) => card === id)
  if (network === undefined) throw new Failure("CHANGED", `card ${id} is none that banger made`, { subject: id })
  // From another namespace nothing of it could be released.
  if (isElsewhere(network)) {
    const hint = "remove it in the network namespace (the container) that the VM was started in"
    throw new Failure("UNSUPPORTED", `card ${id} was made in another network namespace`, { hint, subject: id })
  }
  writeGoing(session, network)
  try {
    await devices.removeCard(id)
  } catch (error) {
    await settle(vm, id).catch(() => {})
    throw error
  }
  await settle(vm, id)
}

/** Throws a failure that says which cards there are, unless one has this id. */
export function requireCard(cards: readonly string[], id: string): void {
  if (cards.includes(id)) return
  const like = nearest(id, cards)
  const message = `no card is called ${JSON.stringify(id)}${like === undefined ? "" : `; did you mean ${like}?`}`
  const hint = `the cards are ${listed(cards.toSorted())}`
  throw new Failure("BAD_PLUGIN", message, { hint, subject: id })
}

// --- internal ---

/** Brings what was begun with cards to its end. Throws a failure when this one's cannot be; of another it is told. */
async function settle({ session, devices, log }: PluggingVm, id: string): Promise<void> {
  const unsettled = await settleCards({ session, devices, warn: (text) => log.warn(text) })
  for (const { card, why } of unsettled) if (card !== id) log.warn(unsettledText(card, why))
  const own = unsettled.find(({ card }) => card === id)
  if (own !== undefined) throw own.why
}

/** Who is to open the tap; undefined without a jail. */
function ownerOf(session: PluggingVm["session"]): { readonly uid: number; readonly gid: number } | undefined {
  using jail = openRunningJail(session)
  return jail?.owner
}

/** Throws a failure when the VMM looks for its taps elsewhere than this process makes them. */
function requireHere({ id, journal }: PluggingVm["session"]): void {
  const pid = entryOf(journal.resources, "process")?.identity?.pid
  const its = pid === undefined ? undefined : networkNamespaceOf(pid)
  const same = isSameNamespace(its, ownNamespace("net"))
  if (same === true) return
  if (same === undefined) {
    const hint = "mount /proc so that banger can see the VMM's namespaces, then try again"
    const message = "it cannot be told whether the VMM is in the network namespace that banger is in"
    throw new Failure("LIVENESS_UNKNOWN", message, { hint, subject: id })
  }
  const hint = "leave network.netns out, and add cards in the network namespace that the VM was started in"
  throw new Failure("UNSUPPORTED", "the VMM is in another network namespace than banger", { hint, subject: id })
}
