import type { Exit } from "banger"

/** A disk of a VM, as the VMM sees it. */
export interface Disk {
  readonly id: string
  readonly path: string
  readonly readonly: boolean
  /** Whether it is a block device, not a file. */
  readonly device: boolean
}

/** What a VMM boots. Paths are as the VMM sees them. */
export interface Boot {
  readonly name: string
  readonly kernel: string
  readonly initrd: string | undefined
  readonly bootArgs: string
  readonly vcpus: number
  readonly memoryMiB: number
  /** In the order the guest is to see them. */
  readonly disks: readonly Disk[]
  /** `user`: the VMM's own user-mode network. */
  readonly network: "user" | false
  readonly confinement: Confinement | undefined
}

/** Where a VMM is to lock itself in before the guest runs. */
export interface Confinement {
  /** The jail's root directory, as the host names it. */
  readonly root: string
  readonly uid: number
  readonly gid: number
}

/** The program to run, and how new it is. */
export interface Program {
  readonly path: string
  readonly version: Version
}

/** Major and minor. */
export type Version = readonly [number, number]

/** How a VM can end; the words users see. */
export type ExitReason = Exit["reason"]

/** What is known when a VMM that ran has gone. */
export interface Ending {
  readonly code: number | null
  readonly signal: string | null
  /** Why the VMM says it is shutting down, in its own word, when it said so. */
  readonly announced: string | undefined
}

/** A running VMM's control connection. */
export interface Control {
  /** Resolves when the guest's processors run. Rejects when the VMM refuses or goes. */
  readonly ready: Promise<void>
  /** Presses Ctrl-Alt-Del in the guest, which is free to ignore it. */
  pressCtrlAltDel(): Promise<void>
  /** Why the VMM said it is shutting down, once it has. */
  announced(): string | undefined
  /** Resolves when the connection has ended. */
  readonly closed: Promise<void>
}

/** A program that can be the VM. */
export interface Vmm {
  readonly name: "qemu"
  /** The program, with its version. Throws a failure that says how to get it, or that it is too old. */
  find(): Promise<Program>
  /** Words that this VMM's guests need on their command line on this host, besides those given. */
  bootArgs(given: string): readonly string[]
  /** The command line; pure. Descriptor 3 is the listening control socket. */
  argv(program: Program, boot: Boot): readonly string[]
  connect(controlPath: string): Promise<Control>
  reason(ending: Ending): ExitReason
}
