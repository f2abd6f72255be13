import type { Exit, VmNetwork } from "banger"
import type { Failure } from "../base/terms/failure.ts"
import type { DhcpServer } from "../host/dhcp/server.ts"
import type { Machine } from "../vm/machine.ts"
import { type DeviceChanges, deviceChanges } from "./changes/deviceChanges.ts"
import { type HookContext, hookContext } from "./hookContext.ts"
import type { VmContext } from "./vmContext.ts"

/** What its supervisor knows of a VM's VMM, from before its start to after its end. */
export interface RunningVm {
  /** Undefined until the VMM has been started, or adopted. */
  readonly machine: Machine | undefined
  /** Whether the VMM has gone. */
  gone: boolean
  /** Whether banger asked the VM to end. */
  requested: boolean
  /** The directory that holds what was staged, as hooks see it. */
  dir: string
  /** Its place in the network, once it has one. */
  network: VmNetwork | undefined
  /** What answers its guest by DHCP; undefined where nothing does. */
  dhcp: DhcpServer | undefined
  /** How a VM ended that nobody watched; of another its machine tells. */
  exitKnown: Exit | undefined
  /** What hooks change of its devices; undefined as `machine` is. */
  readonly changes: DeviceChanges | undefined
  /** What its hooks are given. */
  readonly hookContext: HookContext
  /** The first of its preStop and postStop hooks that failed: the VM is ended and cleaned up all the same. */
  hookFailed: Failure | undefined
  /** Says that the VMM has been started, or adopted. */
  started(machine: Machine): void
}

/** A VM whose VMM has not been started, or not been adopted yet. */
export function runningVm(context: VmContext, known: Partial<Pick<RunningVm, "dir" | "network">> = {}): RunningVm {
  let machine: Machine | undefined
  let changes: DeviceChanges | undefined
  const running: Omit<RunningVm, "hookContext"> = {
    get machine() {
      return machine
    },
    get changes() {
      return changes
    },
    gone: false,
    requested: false,
    dir: known.dir ?? "",
    network: known.network,
    dhcp: undefined,
    exitKnown: undefined,
    hookFailed: undefined,
    started(one) {
      machine = one
      const { session, plugin, vmm, log } = context
      const onOwnCardGone = () => {
        running.network = undefined
      }
      changes = deviceChanges({ session, spec: plugin.spec, vmm: vmm.name, control: one.control, log, onOwnCardGone })
      one.gone.then(() => {
        running.gone = true
        running.dhcp?.close()
      })
    },
  }
  return Object.assign(running, { hookContext: hookContext(context, running) })
}
