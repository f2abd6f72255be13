import type { Exit } from "banger"
import type { HostPath, JailPath } from "../../base/terms/path.ts"
import type { Port } from "../../base/terms/ports.ts"
import type { FirecrackerSettings } from "../../inputs/schema/firecracker.ts"

// The room vmm: what a VMM is to the rest of banger, whichever it is.
// The rule: what differs between VMMs is behind `Vmm` and `Control`; nothing above asks for a VMM's name where it can ask these.

/** A disk of a VM. */
export interface Disk {
  readonly id: string
  readonly path: JailPath
  readonly readonly: boolean
  /** Whether it is a block device, not a file. */
  readonly device: boolean
  /** Whether the guest's root file system is on it: it comes first. */
  readonly root: boolean
  /** The name of a persistent disk: what its guest has synced is to be on the host's disk. */
  readonly persist?: string
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
  /** The snapshot to restore, instead of booting. */
  readonly restore: SnapshotFiles | undefined
}

/** The guest's network card: on a tap that is there, or in the VMM's own user mode. */
export interface BootNetwork {
  /** The tap's name in the network namespace that the VMM is started in; undefined: user mode. */
  readonly tap: string | undefined
  /** The guest's MAC; undefined where the VMM chooses one. */
  readonly mac: string | undefined
  /** The ports that the VMM itself forwards, in user mode. */
  readonly ports: readonly Port[]
  /** The file of the network namespace that the VMM is started in. */
  readonly netns: string | undefined
  /** What the guest is told that a frame may carry, in bytes; undefined: nothing. */
  readonly mtu: number | undefined
}

/** The files of a snapshot. */
export interface SnapshotFiles {
  readonly state: JailPath
  readonly memory: JailPath
  /** Whether `memory` is the socket of a handler of page faults instead. */
  readonly uffd?: boolean
}

/** What a VMM locks itself into before the guest runs. */
export interface Confinement {
  /** The jail's root directory. */
  readonly root: HostPath
  readonly uid: number
  readonly gid: number
}

/** A VMM's program on this host, and its version. */
export interface Program {
  readonly path: string
  readonly version: Version
  /** Firecracker's jailer, where it was found. */
  readonly jailer?: string | undefined
  /** The known fault of this version. */
  readonly warning?: KnownFault | undefined
  /** How QEMU is to run its guest, by its own words; undefined means emulated. */
  readonly accel?: Accel | undefined
}

/** How a guest's processors run: by KVM, or emulated. */
export type Accel = "kvm" | "tcg"

/** A known fault of a release. */
export interface KnownFault {
  readonly words: string
  /** Whether it lets a guest out, or others in. */
  readonly dangerous: boolean
}

/** The programs that the configuration names; others are searched for in PATH. */
export interface ProgramPaths {
  /** The state directory, where their versions are remembered; undefined: each is asked. */
  readonly state?: string | undefined
  readonly qemu?: string | undefined
  readonly firecracker?: string | undefined
  readonly jailer?: string | undefined
}

/** The places of a VMM that is started. */
export interface LaunchPlace {
  /** Where all jails are. */
  readonly jails: HostPath
  /** This VM's own directory for sockets. */
  readonly runtime: HostPath
  /** The control socket that banger itself makes. */
  readonly qmpSocket: HostPath
  /** The files of this VM's directory that Firecracker writes. */
  readonly firecrackerLog: HostPath
  readonly firecrackerMetrics: HostPath
}

/**
 * A VMM's control socket. `passed`: banger listens on it before the start and passes it as descriptor 3. `own`: the VMM
 * makes it, in its jail's root or its runtime directory.
 */
export type ControlSocket =
  | { readonly is: "passed"; readonly host: HostPath }
  | { readonly is: "own"; readonly host: HostPath; readonly jail: JailPath }

/** How a VMM is started, and how it is reached. */
export interface VmmLaunch {
  readonly argv: readonly string[]
  readonly control: ControlSocket
}

/** What a spec asks of a VMM. */
export interface VmmNeeds extends Pick<Boot, "vcpus" | "memoryMiB" | "bootArgs" | "firecracker"> {
  /** The drives of the spec; hooks may add some. */
  readonly drives: readonly Pick<Disk, "id" | "root">[]
  readonly jailed: boolean
  /** Whether the guest's kernel gets an initrd. */
  readonly initrd: boolean
  /** Whether the guest has a network card on a tap. */
  readonly networked: boolean
  /** Whether a snapshot is restored. */
  readonly restored: boolean
}

/** Major and minor. */
export type Version = readonly [number, number]

/** How a VM can end; the words users see. */
export type ExitReason = Exit["reason"]

/** How a VMM's process ended. Both code and signal may be null when it was not our child. */
export interface Ending {
  readonly code: number | null
  readonly signal: string | null
  /** The reason that the VMM gave for shutting down, in its own word. */
  readonly announced: string | undefined
}

/** How a control connection is made. */
export interface ConnectOptions {
  readonly place: LaunchPlace
  /** Hears what the VMM is to do next, for a message: `answer PUT /boot-source`. */
  readonly onStep: (step: string) => void
  /** Is called when a restored guest is about to run. When it throws, the guest does not run. */
  readonly beforeResume: () => void
}

/** A drive that a VMM has. `path` is what the VMM says: null when it has no file. */
export interface PresentDrive {
  readonly id: string
  readonly path: string | null
}

/** What a VMM can change of its devices while the guest runs. Each rejects with a failure that names the device. */
export interface Devices {
  /** The drives that it has now, in its own words: nothing in them is proven. */
  drives(): Promise<readonly PresentDrive[]>
  /** Has it use another file for a drive, from its next request on. */
  reopenDrive(id: string, path: JailPath): Promise<void>
  limitDrive(id: string, limits: DriveLimits): Promise<void>
  /** The ids of the network cards that it has now, as it says. */
  cards(): Promise<readonly string[]>
  limitCard(id: string, limits: NetworkLimits): Promise<void>
  /** Rejects where the release cannot plug devices in or take them out. Nothing is changed. */
  requirePlugging(): Promise<void>
  /** Plugs a drive into the guest's PCI bus, or takes it out. Both reject where the release cannot do that. */
  addDrive(drive: AddedDrive): Promise<void>
  removeDrive(id: string): Promise<void>
  /** The same with a network card. Its tap must be there. */
  addCard(card: AddedCard): Promise<void>
  removeCard(id: string): Promise<void>
}

/** A drive for a guest that runs. */
export interface AddedDrive extends Pick<Disk, "id" | "path" | "readonly"> {}

/** A network card for a guest that runs. */
export interface AddedCard extends NonNullable<FirecrackerSettings["network"]> {
  readonly id: string
  readonly tap: string
  readonly mac: string
}

/** Rate limits that can change, in Firecracker's words. */
export type DriveLimits = Required<Pick<NonNullable<FirecrackerSettings["drives"]>[string], "rate_limiter">>
export type NetworkLimits = Pick<NonNullable<FirecrackerSettings["network"]>, "rx_rate_limiter" | "tx_rate_limiter">

/** What a guest's console tells of its end, where its VMM itself tells nothing. */
export interface ConsoleListener {
  /** Is told what the guest prints on its console. */
  onConsole(chunk: Uint8Array): void
  /** Resolves when the guest has powered itself off and the VMM runs on. */
  readonly halted: Promise<void>
  /** The reason of the end, once the console has told one. */
  announced(): string | undefined
}

/** A running VMM's control connection. */
export interface Control {
  /** Resolves when the guest's processors run. Rejects when the VMM refuses or ends. */
  readonly ready: Promise<void>
  /** Presses Ctrl-Alt-Del in the guest, which may ignore it. Undefined where the VMM has no such thing. */
  readonly pressCtrlAltDel: (() => Promise<void>) | undefined
  /** Why the connection could not be made. */
  readonly unreachable?: string
  /** Pauses and resumes the guest. Pausing a paused guest is fine, and so is resuming one that runs. */
  pause(): Promise<void>
  resume(): Promise<void>
  /** Undefined where the VMM cannot change devices while the guest runs. */
  readonly devices?: Devices
  /** As a `ConsoleListener`, of a VMM that has one. */
  readonly onConsole?: ConsoleListener["onConsole"]
  readonly halted?: ConsoleListener["halted"]
  /** The reason that the VMM gave for shutting down, once it has given one. */
  announced(): string | undefined
  /** Resolves when the connection has ended, or nothing more is to come from it. */
  readonly closed: Promise<void>
  /**
   * Of a VMM that tells its last events to an open connection alone: that connection's descriptor, for the program that takes this
   * one's place in this process; undefined where it cannot be had.
   */
  inherit?(): number | undefined
}

/** What of a guest takes something of the host that there may be too little of. */
export type Taking = Pick<Boot, "memoryMiB" | "firecracker">

/** A program that can be the VM. */
export interface Vmm {
  readonly name: "qemu" | "firecracker"
  /** The program, with its version. Throws a failure that says how to get it, or that it is too old. */
  find(paths: ProgramPaths): Promise<Program>
  /** The name of the directory with its jails. */
  jailName(program: Program): string
  /** The words that its guests need on their command line on this host, besides the given ones. */
  bootArgs(given: string, disks: readonly Disk[], program: Pick<Program, "accel">): readonly string[]
  /**
   * Throws a failure that names the setting, or the program that is missing, when this program cannot do what a spec asks for. Nothing
   * is made.
   */
  require(program: Program, needs: VmmNeeds): void
  /**
   * Throws a failure that names the setting when this host cannot give now what is to be booted. `freed` is asked, where what is
   * free is too little, for a guest that ends first and gives back what it has.
   */
  requireNow(boot: Taking, freed?: () => Taking | undefined): void
  /** Whether it can tell its guest what a frame may carry. Pure. */
  tellsMtu(program: Pick<Program, "version">): boolean
  /** How many bytes it adds itself to its guest's command line. Pure. */
  addedBytes(boot: Boot): number
  /** How to start it. Pure. */
  launch(program: Program, boot: Boot, place: LaunchPlace): VmmLaunch
  /**
   * Makes ready what a VMM that is just starting will be told; what is returned connects to its control socket and lets the guest
   * run.
   */
  connect(boot: Boot, options: ConnectOptions): (control: HostPath) => Promise<Control>
  /** Its control socket; `root` is its jail's, undefined without a jail. Pure. */
  control(place: Pick<LaunchPlace, "runtime" | "qmpSocket">, root: HostPath | undefined): ControlSocket
  /** Connects to the control socket of a running VMM, whoever started it. */
  adopt(control: HostPath): Promise<Control>
  /** Of a VMM that does not tell itself how its guest has ended. */
  listenToConsole?(): ConsoleListener
  reason(ending: Ending): ExitReason
}

/** A VMM, and its program on this host. */
export interface Chosen {
  readonly vmm: Vmm
  readonly program: Program
}
