import { isAbsolute } from "node:path"
import type { RunningContext } from "banger"
import * as v from "valibot"
import { Failure } from "../../base/terms/failure.ts"
import type { Control, Devices } from "../../host/vmm/vmm.ts"
import { SETTINGS } from "../../inputs/schema/firecracker.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import type { Session } from "../../vm/session.ts"

/** What hooks may change of a running VM's devices. */
export type DeviceContext = Pick<RunningContext, "drives" | "network">

/** The changes of one running VM. They are made one at a time, however many a hook begins at once. */
export interface DeviceChanges {
  /** For a hook with this signal. */
  context(signal: AbortSignal): DeviceContext
  /** Ends what is being changed, and lets nothing more begin; resolves when all that was made for it is gone. */
  over(): Promise<void>
}

/** The running VM whose devices hooks change. */
export interface ChangeableVm {
  readonly session: Pick<Session, "id" | "layout" | "journal">
  readonly spec: Pick<Spec, "network">
  readonly vmm: string
  readonly control: Pick<Control, "devices" | "unreachable">
}

/** The changes of a VM that runs. Nothing is asked of its VMM until a hook changes something. */
export function deviceChanges(vm: ChangeableVm): DeviceChanges {
  const ended = new AbortController()
  let last: Promise<unknown> = Promise.resolve()
  const inTurn = (what: string, signal: AbortSignal, work: (devices: Devices) => Promise<void>) => {
    const next = last.then(() => {
      signal.throwIfAborted()
      return naming(what, () => work(requireDevices(vm, what)))
    })
    last = next.catch(() => {})
    return next
  }
  return {
    context(hook) {
      const signal = AbortSignal.any([hook, ended.signal])
      return {
        drives: {
          replace: (id, path) =>
            inTurn("ctx.drives.replace", signal, async (devices) => {
              const image = requirePath(path)
              const { replaceDrive } = await import("./replaceDrive.ts")
              await replaceDrive({ session: vm.session, devices }, requireText(id), { image, signal })
            }),
          update: (id, settings) =>
            inTurn("ctx.drives.update", signal, async (devices) => {
              const limits = parse(driveLimits, settings)
              const { requireDrive } = await import("./replaceDrive.ts")
              requireDrive(await devices.drives(), requireText(id))
              await devices.limitDrive(id, limits)
            }),
        },
        network: {
          update: (settings) =>
            inTurn("ctx.network.update", signal, async (devices) => {
              const limits = parse(networkLimits, settings)
              if (vm.spec.network === false || vm.spec.network.mode === "user")
                throw new Failure("BAD_PLUGIN", "the guest has no network card on a tap", { subject: "network" })
              await devices.limitNetwork(limits)
            }),
        },
      }
    },
    over() {
      ended.abort(new Failure("WRONG_STATE", "the VM no longer runs under this banger", { subject: vm.session.id }))
      return last.then(() => {})
    },
  }
}

// --- internal ---

const NOTHING = "nothing is to change"

const { rate_limiter } = SETTINGS.drive.entries
const driveLimits = v.strictObject({ rate_limiter: v.nonOptional(rate_limiter, "missing") })
const networkLimits = v.pipe(
  v.strictObject({
    rx_rate_limiter: SETTINGS.network.entries.rx_rate_limiter,
    tx_rate_limiter: SETTINGS.network.entries.tx_rate_limiter,
  }),
  v.check((limits) => Object.values(limits).some((limit) => limit !== undefined), NOTHING),
)

function parse<T>(schema: v.GenericSchema<unknown, T>, settings: unknown): T {
  const result = v.safeParse(schema, settings)
  if (result.success) return result.output
  const [issue] = result.issues
  const key = v.getDotPath(issue)
  const unknown = issue.type === "strict_object" && issue.expected === "never"
  const words = unknown ? "unknown" : issue.type === "strict_object" ? "missing" : issue.message
  throw new Failure("BAD_PLUGIN", key === null ? words : `${key}: ${words}`, { subject: key ?? undefined })
}

function requireText(id: unknown): string {
  if (typeof id === "string") return id
  throw new Failure("BAD_PLUGIN", `${Bun.inspect(id)} is not a drive's id`)
}

function requirePath(path: unknown): string {
  if (typeof path === "string" && isAbsolute(path)) return path
  throw new Failure("BAD_PLUGIN", `${Bun.inspect(path)} is not an absolute path`)
}

function requireDevices({ vmm, control, session }: ChangeableVm, what: string): Devices {
  const { devices, unreachable } = control
  if (devices !== undefined) return devices
  if (unreachable !== undefined) throw new Failure("WRONG_STATE", unreachable, { subject: session.id })
  const hint = 'use vmm: "firecracker"'
  throw new Failure("UNSUPPORTED", `${vmm} cannot change it while the guest runs`, { hint, subject: what })
}

/** Failures say which function of the context they are of. */
async function naming(what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    const { code, message, hint, subject } = error
    throw new Failure(code, `${what}: ${message}`, { hint, subject, cause: error })
  }
}
