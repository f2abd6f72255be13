import { close } from "../../base/linux/files.ts"
import { messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { hostPath } from "../../base/terms/path.ts"
import { jailRoot } from "../../host/jail/base.ts"
import { isStaged, type RunningJail, renameStaged, runningJail, unstage } from "../../host/jail/running.ts"
import type { Devices, Vmm } from "../../host/vmm/vmm.ts"
import type { ProcessIdentity, Resource } from "../../store/state/handles.ts"
import type { VmLayout } from "../../store/state/places.ts"
import { openJailRoot, openOwnSocket } from "../../vm/controlSocket.ts"
import { entryOf, type Journal } from "../../vm/journal.ts"
import { networksOf } from "../../vm/network.ts"
import { type CardSession, settleCards, unsettledText } from "./settleCards.ts"

/** A VM whose journal this process writes. */
export interface Settling {
  readonly layout: VmLayout
  readonly journal: Pick<Journal, "resources" | "refine">
}

/** A change of a drive, as the journal has it. */
export type Change = NonNullable<Extract<Resource, { kind: "jail" }>["changing"]>

/** Whether a change of a drive or a network card was begun, and is not over. Pure. */
export function isChanging(resources: readonly Resource[]): boolean {
  const cards = networksOf(resources).some(({ plugging }) => plugging === true)
  return cards || entryOf(resources, "jail")?.changing !== undefined
}

/** Writes a change of a drive on the journal; undefined: it is over. */
export function writeChange({ journal }: Settling, changing: Change | undefined): void {
  const jail = entryOf(journal.resources, "jail")
  if (jail === undefined) return
  const { changing: _, ...entry } = jail
  journal.refine(changing === undefined ? entry : { ...entry, changing })
}

/** The jail of a VM that runs, its root open and proven; undefined when it has none. */
export function openRunningJail({ layout, journal }: Settling): (RunningJail & Disposable) | undefined {
  const entry = entryOf(journal.resources, "jail")
  if (entry === undefined) return undefined
  const fd = openJailRoot(layout, journal.resources)
  try {
    const path = jailRoot({ base: layout.jails, vmm: entry.vmm, id: layout.id })
    return { ...runningJail(fd, path), [Symbol.dispose]: () => close(fd) }
  } catch (error) {
    close(fd)
    throw error
  }
}

/**
 * Brings a change of a drive to its end, wherever it stands: when the VMM uses the new file, that takes the name of the
 * old one, which goes; else the new one goes. Repeating it is fine, and so is a VM without a change.
 */
export async function settle({
  session,
  devices,
}: {
  readonly session: Settling
  readonly devices: Pick<Devices, "drives" | "reopenDrive">
}): Promise<void> {
  const change = entryOf(session.journal.resources, "jail")?.changing
  if (change === undefined) return
  const { drive, file, next } = change
  const drives = await devices.drives()
  using jail = openRunningJail(session)
  if (jail === undefined) return
  const used = drives.find(({ id }) => id === drive)?.path === jail.placed(next).jail
  if (!used) unstage(jail, next)
  else if (file !== undefined) {
    // Once it has the name of the old one, nothing but the VMM's own word for it is left to change.
    if (isStaged(jail, next)) {
      unstage(jail, file)
      renameStaged(jail, next, file)
    }
    await devices.reopenDrive(drive, jail.placed(file).jail)
  }
  writeChange(session, undefined)
}

/**
 * Does so for a VM whose supervisor is gone and whose VMM, this process, lives; as far as the VMM answers: else it waits
 * for the next change.
 */
export async function settleLate(
  session: CardSession,
  vmm: Pick<Vmm, "control" | "adopt">,
  { identity, log }: { readonly identity: ProcessIdentity; readonly log: Log },
): Promise<void> {
  const { layout, journal } = session
  if (!isChanging(journal.resources)) return
  const control = vmm.control(layout, undefined)
  if (control.is !== "own") return
  try {
    const socket = openOwnSocket(control.host, { layout, resources: journal.resources, identity })
    try {
      const { devices } = await vmm.adopt(hostPath(`/proc/self/fd/${socket}`))
      if (devices !== undefined) {
        const warn = (text: string) => log.warn(text)
        for (const { card, why } of await settleCards({ session, devices, warn })) warn(unsettledText(card, why))
        await settle({ session, devices })
      }
    } finally {
      close(socket)
    }
  } catch (error) {
    log.warn(`a drive or a network card was being changed, and what became of it cannot be told: ${messageOf(error)}`)
  }
}
