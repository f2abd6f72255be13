import type { Exit } from "banger"
import type { HostPath, JailPath } from "../../base/terms/path.ts"
import type { Port } from "../../base/terms/ports.ts"
import type { FirecrackerSettings } from "../../inputs/schema/firecracker.ts"

/** A disk of a VM. */
export interface Disk {
  readonly id: string
  readonly path: JailPath
  readonly readonly: boolean
  /** Whether it is a block device, not a file. */
  readonly device: boolean
  /** Whether the guest's root file system is on it: it comes first. */
  readonly root: boolean
}

/** What a VMM boots. */
export interface Boot {
  readonly name: string
  readonly kernel: JailPath
  readonly initrd: JailPath | undefined
  readonly bootArgs: string
  readonly vcpus: number
  readonly memoryMiB: number
  /** In the order the guest is to see them. */
  readonly disks: readonly Disk[]
  readonly network: BootNetwork | false
  readonly confinement: Confinement | undefined
  readonly firecracker: FirecrackerSettings
  /** The files of a snapshot to go on from, instead of booting. */
  readonly restore: SnapshotFiles | undefined
}

/** The guest's network card: on a tap that is there, or in the VMM's own user mode. */
export interface BootNetwork {
  /** The tap's name, in the network namespace that the VMM is started in; undefined: user mode. */
  readonly tap: string | undefined
  /** The guest's; undefined where the VMM chooses. */
  readonly mac: string | undefined
  /** Ports that the VMM itself forwards: in user mode. */
  readonly ports: readonly Port[]
  /** The file of the network namespace that the VMM is started in. */
  readonly netns: string | undefined
}

/** Where a snapshot's files are. */
export interface SnapshotFiles {
  readonly state: JailPath
  readonly memory: JailPath
}

/** Where a VMM is to lock itself in before the guest runs. */
export interface Confinement {
  /** The jail's root directory. */
  readonly root: HostPath
  readonly uid: number
  readonly gid: number
}

/** The program to run, and how new it is. */
export interface Program {
  readonly path: string
  readonly version: Version
  /** Firecracker's jailer, where it was found. */
  readonly jailer?: string | undefined
  /** What is known against this version. */
  readonly warning?: KnownFault | undefined
}

/** What is known against a release. */
export interface KnownFault {
  readonly words: string
  /** Whether it gives guests a way out, or others one in. */
  readonly dangerous: boolean
}

/** Programs that the configuration names; others are looked for in PATH. */
export interface ProgramPaths {
  readonly qemu?: string | undefined
  readonly firecracker?: string | undefined
  readonly jailer?: string | undefined
}

/** Where a VMM is started. */
export interface LaunchPlace {
  /** Where all jails are. */
  readonly jails: HostPath
  /** This VM's own directory for sockets. */
  readonly runtime: HostPath
  /** Where a control socket of banger's own making is. */
  readonly qmpSocket: HostPath
  /** Files of this VM's directory that Firecracker writes. */
  readonly firecrackerLog: HostPath
  readonly firecrackerMetrics: HostPath
  /** The VM's cgroup below the mount, which is there already. */
  readonly cgroup: string | undefined
}

/**
 * A VMM's control socket. `passed`: banger listens on it before the start and passes it as descriptor 3. `own`: the VMM
 * makes it, in its jail's root or its runtime directory.
 */
export type ControlSocket =
  | { readonly is: "passed"; readonly host: HostPath }
  | { readonly is: "own"; readonly host: HostPath; readonly jail: JailPath }

/** How a VMM is started, and reached. */
export interface VmmLaunch {
  readonly argv: readonly string[]
  readonly control: ControlSocket
}

/** What a spec asks of a VMM. */
export interface VmmNeeds extends Pick<Boot, "vcpus" | "memoryMiB" | "firecracker"> {
  readonly jailed: boolean
  /** Whether the guest has a network card on a tap. */
  readonly networked: boolean
  /** Whether it goes on from a snapshot. */
  readonly restored: boolean
}

/** Major and minor. */
export type Version = readonly [number, number]

/** How a VM can end; the words users see. */
export type ExitReason = Exit["reason"]

/** What is known when a VMM that ran has gone. Of one that was no child of ours both code and signal may be null. */
export interface Ending {
  readonly code: number | null
  readonly signal: string | null
  /** Why the VMM says it is shutting down, in its own word, when it said so. */
  readonly announced: string | undefined
}

/** How a control connection is made. */
export interface ConnectOptions {
  readonly place: LaunchPlace
  /** Hears what the VMM is to do next: `answer PUT /boot-source`. */
  readonly onStep: (step: string) => void
}

/** A running VMM's control connection. */
export interface Control {
  /** Resolves when the guest's processors run. Rejects when the VMM refuses or goes. */
  readonly ready: Promise<void>
  /** Presses Ctrl-Alt-Del in the guest, which is free to ignore it. Undefined where that cannot be done. */
  readonly pressCtrlAltDel: (() => Promise<void>) | undefined
  /** Why the connection could not be made. */
  readonly unreachable?: string
  /** Lets the guest stand still, and go on. Asking for what is so already is fine. */
  pause(): Promise<void>
  resume(): Promise<void>
  /** Is shown what the guest says on its console. */
  readonly onConsole?: (chunk: Uint8Array) => void
  /** Resolves when the guest has powered itself off and the VMM goes on all the same. */
  readonly halted?: Promise<void>
  /** Why the VMM said it is shutting down, once it has. */
  announced(): string | undefined
  /** Resolves when the connection has ended, or nothing more is to be heard from it. */
  readonly closed: Promise<void>
}

/** A program that can be the VM. */
export interface Vmm {
  readonly name: "qemu" | "firecracker"
  /** The program, with its version. Throws a failure that says how to get it, or that it is too old. */
  find(paths: ProgramPaths): Promise<Program>
  /** The name of the directory that its jails are in. */
  jailName(program: Program): string
  /** Words that this VMM's guests need on their command line on this host, besides those given. */
  bootArgs(given: string, disks: readonly Disk[]): readonly string[]
  /** Throws a failure that names the setting when this program cannot do what a spec asks for. Pure. */
  require(program: Program, needs: VmmNeeds): void
  /** How to start it; pure. */
  launch(program: Program, boot: Boot, place: LaunchPlace): VmmLaunch
  /** Connects to its control socket and lets the guest run. */
  connect(control: HostPath, boot: Boot, options: ConnectOptions): Promise<Control>
  /** Its control socket; `root` is its jail's, undefined without a jail. Pure. */
  control(place: Pick<LaunchPlace, "runtime" | "qmpSocket">, root: HostPath | undefined): ControlSocket
  /** Connects to the control socket of one that runs, whoever started it. */
  adopt(control: HostPath): Promise<Control>
  reason(ending: Ending): ExitReason
}

/** A VMM, and its program on this host. */
export interface Chosen {
  readonly vmm: Vmm
  readonly program: Program
}
