import type { Log } from "../../base/terms/log.ts"
import type { Asker } from "../../inputs/plugin/trust.ts"
import type { Sink } from "../../store/logs/growing.ts"
import type { Overrides } from "../../supervisor/boot/prepare.ts"
import type { Restarts } from "../../supervisor/rest/words.ts"
import type { Ended } from "../../vm/exit.ts"
import type { Owner } from "./admission.ts"

/** What the user asked `banger run` for. */
export interface RunRequest extends Overrides {
  readonly plugin: string
  readonly args: readonly string[]
  readonly plan: boolean
  readonly keepOnFailure: boolean
  /** Whether a VM that has the name is stopped first. */
  readonly replace: boolean
  /** The directory of a snapshot to restore, instead of booting. */
  readonly restore: string | undefined
  /** Whether standard input that is no terminal is connected to the guest's console too. */
  readonly interactive?: boolean | undefined
  /** Limit for the whole run in milliseconds, over the plugin's own. */
  readonly timeout: number | undefined
  /** Where to write a Chrome trace. */
  readonly trace: string | undefined
  readonly log: Log
  /** Gets the serial console; undefined keeps it in console.log only. */
  readonly onConsole: Sink | undefined
  /** What becomes of the VM's supervisor: this process to the end, with a terminal or without, or none. */
  readonly supervisor: "foreground" | "detached" | "none"
  /** The file that this process's messages go to, when it has no terminal; it becomes the VM's. */
  readonly logFile: string | undefined
  /** Who asked for the VM before this one, where this run is one more of it that they did not ask for. */
  readonly asker?: Asker | undefined
  /** The user that root runs it for, whose plugin's code is not here. */
  readonly owner?: Owner | undefined
  /** Connects something else than this process's terminal to the guest's console input, a FIFO; what it returns disconnects it. */
  readonly connectConsole?: ((fifo: string) => () => void) | undefined
  /** The restarts that were counted before, where this run is one. */
  readonly restarts?: Restarts | undefined
  /** The first VM is running, and its postBoot hooks are done. */
  readonly onBooted: (vm: Booted) => void
}

/** A VM that is running. */
export interface Booted {
  readonly id: string
  readonly name: string
  readonly vmm: string
  readonly pid: number | undefined
  /** The directory with the VM's logs. */
  readonly dir: string
}

/** How `banger run` ended. */
export interface RunResult extends Ended {
  /** 128 + the signal's number when the user interrupted the run. */
  readonly interrupted: number | undefined
}
