import type { RunningContext } from "banger"
import { CARD } from "../../base/terms/address.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import type { Control, Devices } from "../../host/vmm/vmm.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import type { Session } from "../../vm/session.ts"
import { inTurn } from "./turn.ts"
import { addedCard, addedDrive, cardLimits, driveLimits, parse, requireId, requirePath } from "./words.ts"

/** What hooks may change of a running VM's devices. */
export type DeviceContext = Pick<RunningContext, "drives" | "network">

/** The changes of one running VM. They are made one at a time, however many a hook begins at once. */
export interface DeviceChanges {
  /** For a hook with this signal. */
  context(signal: AbortSignal): DeviceContext
  /** Does work while nothing is being changed: what was begun before is waited for, what is begun meanwhile waits. */
  alone<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T>
  /** Aborted by `over`. */
  readonly ended: AbortSignal
  /** Ends what is being changed, and lets nothing more begin; resolves when all that was made for it is gone. */
  over(): Promise<void>
}

/** The running VM whose devices hooks change. */
export interface ChangeableVm {
  readonly session: Pick<Session, "id" | "db" | "layout" | "journal">
  readonly spec: Pick<Spec, "network" | "firecracker">
  readonly vmm: string
  readonly control: Pick<Control, "devices" | "unreachable">
  readonly log: Log
  /** Is called when the plugin's own network card was taken out. */
  readonly onOwnCardGone: () => void
}

/** The changes of a VM that runs. Nothing is asked of its VMM until a hook changes something. */
export function deviceChanges(vm: ChangeableVm): DeviceChanges {
  const ended = new AbortController()
  let last: Promise<unknown> = Promise.resolve()
  /** The change that is being made, or the last one. */
  let changing: Promise<void> = Promise.resolve()
  const alone = <T>(signal: AbortSignal, work: () => Promise<T>) => {
    const next = last.then(() => {
      signal.throwIfAborted()
      return work()
    })
    last = next.catch(() => {})
    return next
  }
  const whenOurs = <T>(what: string, signal: AbortSignal, work: (devices: Devices) => Promise<T>) =>
    alone(signal, () => {
      const change = naming(what, async () => {
        const devices = requireDevices(vm, what)
        return await inTurn(vm.session.id, vm.session.layout, () => work(devices), { signal })
      })
      changing = change.then(
        () => {},
        () => {},
      )
      return change
    })
  return {
    context(hook) {
      const signal = AbortSignal.any([hook, ended.signal])
      return {
        drives: {
          replace: (id, path) =>
            whenOurs("ctx.drives.replace", signal, async (devices) => {
              const image = requirePath(path)
              const { replaceDrive } = await import("./replaceDrive.ts")
              await replaceDrive({ session: vm.session, devices }, requireId(id, "drive"), { image, signal })
            }),
          update: (id, settings) =>
            whenOurs("ctx.drives.update", signal, async (devices) => {
              const limits = parse(driveLimits, settings)
              const { requireDrive } = await import("./replaceDrive.ts")
              requireDrive(await devices.drives(), requireId(id, "drive"))
              await devices.limitDrive(id, limits)
            }),
          add: (drive) =>
            whenOurs("ctx.drives.add", signal, async (devices) => {
              requirePci(vm, "drives")
              const { id, path, readonly = false } = parse(addedDrive, drive)
              const { addDrive } = await import("./plugDrive.ts")
              const image = { id, path: requirePath(path), readonly }
              await addDrive({ session: vm.session, devices }, image, { signal })
            }),
          remove: (id) =>
            whenOurs("ctx.drives.remove", signal, async (devices) => {
              requirePci(vm, "drives")
              const { removeDrive } = await import("./plugDrive.ts")
              await removeDrive({ session: vm.session, devices }, requireId(id, "drive"))
            }),
        },
        network: {
          update: (settings) =>
            whenOurs("ctx.network.update", signal, async (devices) => {
              const { id = CARD, ...limits } = parse(cardLimits, settings)
              const cards = await devices.cards()
              if (cards.length === 0)
                throw new Failure("BAD_PLUGIN", "the guest has no network card on a tap", { subject: "network" })
              const { requireCard } = await import("./plugCard.ts")
              requireCard(cards, id)
              await devices.limitCard(id, limits)
            }),
          add: (card) =>
            whenOurs("ctx.network.add", signal, async (devices) => {
              requirePci(vm, "network cards")
              const wanted = parse(addedCard, card)
              const { addCard } = await import("./plugCard.ts")
              return addCard({ session: vm.session, devices, log: vm.log }, wanted, { signal })
            }),
          remove: (id) =>
            whenOurs("ctx.network.remove", signal, async (devices) => {
              requirePci(vm, "network cards")
              const { removeCard } = await import("./plugCard.ts")
              await removeCard({ session: vm.session, devices, log: vm.log }, requireId(id, "network card"))
              if (id === CARD) vm.onOwnCardGone()
            }),
        },
      }
    },
    alone,
    ended: ended.signal,
    over() {
      ended.abort(new Failure("WRONG_STATE", "the VM no longer runs under this banger", { subject: vm.session.id }))
      return changing
    },
  }
}

// --- internal ---

/** Devices come and go on a PCI bus alone. */
function requirePci({ spec, session }: ChangeableVm, what: string): void {
  if (spec.firecracker.pci === true) return
  const hint = "set firecracker.pci: true in the plugin"
  throw new Failure("UNSUPPORTED", `the guest has no PCI bus to plug ${what} into`, { hint, subject: session.id })
}

function requireDevices({ vmm, control, session }: ChangeableVm, what: string): Devices {
  const { devices, unreachable } = control
  if (devices !== undefined) return devices
  if (unreachable !== undefined) throw new Failure("WRONG_STATE", unreachable, { subject: session.id })
  const hint = 'use vmm: "firecracker"'
  throw new Failure("UNSUPPORTED", `${vmm} cannot change it while the guest runs`, { hint, subject: what })
}

/** Failures say which function of the context they are of. */
async function naming<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    const { code, message, hint, subject } = error
    throw new Failure(code, `${what}: ${message}`, { hint, subject, cause: error })
  }
}
