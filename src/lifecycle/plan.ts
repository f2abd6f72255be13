import { SUN_PATH_MAX } from "../linux/structs.ts"
import type { Spec } from "../plugin/spec.ts"
import type { VmLayout } from "../state/places.ts"
import { Failure } from "../terms/failure.ts"
import type { Boot, Vmm } from "../vmm/vmm.ts"

type Drive = Spec["drives"][number]

/**
 * The boot of a spec with these drives (its own, and those that hooks added) and the words that the VMM adds to the
 * command line. Pure.
 */
export function planBoot(spec: Spec, vmName: string, drives: readonly Drive[], vmmArgs: readonly string[]): Boot {
  return {
    name: vmName,
    kernel: spec.kernel,
    initrd: spec.initrd,
    bootArgs: [spec.bootArgs, ...rootArgs(drives), ...vmmArgs].join(" "),
    vcpus: spec.vcpus,
    memoryMiB: spec.memory,
    disks: drives.map(({ id, path, readonly }, index) => ({ id: id ?? `disk${index}`, path, readonly })),
    network: spec.network,
  }
}

/** Every step of a run, in order, as `--plan` prints it. Pure. */
export function planSteps(layout: VmLayout, vmm: Vmm, executable: string, boot: Boot): readonly string[] {
  return [
    `add a record of ${boot.name} to state.db`,
    `make ${layout.dir} (0700) for handles.json, events.jsonl, plugin.json, console.log and vmm.log`,
    `make ${layout.runtime} (0700), ${layout.consoleInput} (FIFO, 0600) and ${layout.control} (socket, 0600)`,
    `make ${layout.stage} (0700)`,
    "run preBoot hooks, which may stage files and add drives",
    `start ${vmm.name}: ${shellWords(vmm.argv(executable, boot))}`,
    "run postBoot hooks once it runs",
    "wait for its end; when asked to stop: run preStop hooks, press Ctrl-Alt-Del, at last kill it",
    "run postStop hooks",
    `remove ${layout.stage} and ${layout.runtime}, and check that they and the process are gone`,
  ]
}

/** Throws a failure when a socket path would not fit, before anything is made. */
export function checkSocketPath(path: string, variable: string): void {
  const length = Buffer.byteLength(path)
  if (length <= SUN_PATH_MAX) return
  const hint = `set ${variable} to a shorter directory`
  throw new Failure(`the socket path ${path} has ${length} bytes; ${SUN_PATH_MAX} is the most`, { hint })
}

/** A command line as a shell would need it typed. */
export function shellWords(argv: readonly string[]): string {
  return argv.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(" ")
}

// --- internal ---

function rootArgs(drives: readonly Drive[]): readonly string[] {
  const index = drives.findIndex((drive) => drive.root)
  const drive = drives[index]
  if (drive === undefined) return []
  return [`root=/dev/vd${String.fromCharCode(97 + index)}`, drive.readonly ? "ro" : "rw"]
}
