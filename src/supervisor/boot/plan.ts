import { parameterOf, withParameters } from "../../base/linux/commandLine.ts"
import { type HostPath, hostPath, inJail, type Placed, withoutJail } from "../../base/terms/path.ts"
import { shellWords } from "../../base/terms/shell.ts"
import type { Boot, Chosen, Confinement, Program, SnapshotFiles, Vmm } from "../../host/vmm/vmm.ts"
import type { HostDrive, Spec } from "../../inputs/schema/vm.ts"
import type { VmLayout } from "../../store/state/places.ts"
import { savedDisk, snapshotFiles } from "../snapshot/manifest.ts"

/** The names that a VM's files have in its jail; a drive's is `savedDisk`. */
export const IN_JAIL = {
  ...{ kernel: "kernel", initrd: "initrd", restore: "restore" },
  pmem: (index: number) => `pmem${index}`,
  vhostUser: (index: number) => `vhost${index}.sock`,
} as const

/** A drive of the host, known to be a block device or a file, or a persistent disk. */
export interface FoundDrive extends Pick<HostDrive, "id" | "path" | "readonly" | "root"> {
  /** Whether it is a block device, not a file. */
  readonly device: boolean
  /** The name of a persistent disk. */
  readonly persist?: string
}

/** A drive whose file is in place. */
export interface StagedDrive extends Omit<FoundDrive, "path">, Placed {}

/** What a drive is called that may have no id of its own. */
export function driveId(id: string | undefined, index: number): string {
  return id ?? `disk${index}`
}

/** Where the files of a VM are. */
export interface StagedFiles {
  readonly kernel: Placed
  readonly initrd: Placed | undefined
  /** Firecracker's settings, with the paths that it sees. */
  readonly firecracker: Spec["firecracker"]
  /** The spec's own, and those that hooks added. */
  readonly drives: readonly StagedDrive[]
  /** The files of a snapshot to restore. */
  readonly restore: SnapshotFiles | undefined
}

/** Where the files of a spec will be: in the jail with this root, or where they are already. Pure. */
export function plannedFiles(
  { kernel, initrd, firecracker }: Pick<Spec, "kernel" | "initrd" | "firecracker">,
  drives: readonly FoundDrive[],
  root: HostPath | undefined,
): StagedFiles {
  const place = (name: string, path: string) => (root === undefined ? withoutJail(hostPath(path)) : inJail(root, name))
  return {
    kernel: place(IN_JAIL.kernel, kernel),
    initrd: initrd === undefined ? undefined : place(IN_JAIL.initrd, initrd),
    drives: drives.map((drive, index) => ({ ...drive, ...place(savedDisk(index), drive.path) })),
    firecracker: seenSettings(firecracker, root),
    restore: undefined,
  }
}

/** Where the files of a snapshot will be, as its VMM sees them; `uffd`: the socket of the program that gives its memory. Pure. */
export function plannedSnapshot(dir: string, uffd: string | undefined, root: HostPath | undefined): SnapshotFiles {
  const saved = snapshotFiles(dir)
  const seen = (name: string, path: HostPath) =>
    (root === undefined ? withoutJail(path) : inJail(root, `${IN_JAIL.restore}/${name}`)).jail
  const state = seen("state", saved.state)
  if (uffd !== undefined) return { state, memory: seen("uffd", hostPath(uffd)), uffd: true }
  return { state, memory: seen("memory", saved.memory) }
}

/** The paths that Firecracker's settings name, as the VMM sees them: in the jail with this root, or where they are. Pure. */
export function seenSettings(
  { pmem, vhost_user, ...rest }: Spec["firecracker"],
  root: HostPath | undefined,
): Spec["firecracker"] {
  const seen = (name: string, path: string) => (root === undefined ? path : inJail(root, name).jail)
  return {
    ...rest,
    ...(pmem && { pmem: pmem.map((each, index) => ({ ...each, path: seen(IN_JAIL.pmem(index), each.path) })) }),
    ...(vhost_user && {
      vhost_user: vhost_user.map((each, index) => ({ ...each, socket: seen(IN_JAIL.vhostUser(index), each.socket) })),
    }),
  }
}

/** Which VM a boot is of, and what it runs in. */
export interface BootOptions {
  readonly id: string
  readonly vmm: Pick<Vmm, "bootArgs">
  readonly program: Pick<Program, "accel">
  readonly confinement: Confinement | undefined
}

/** The boot of a spec from its staged files; the root drive comes first. Pure, except that the VMM may ask this host. */
export function planBoot(spec: Spec, files: StagedFiles, { id, vmm, program, confinement }: BootOptions): Boot {
  const numbered = files.drives.map(({ jail: path, readonly, device, root, ...drive }, index) => ({
    ...{ id: driveId(drive.id, index), path, readonly, device, root },
    ...(drive.persist === undefined ? {} : { persist: drive.persist }),
  }))
  const disks = [...numbered.filter(({ root }) => root), ...numbered.filter(({ root }) => !root)]
  return {
    name: id,
    kernel: files.kernel.jail,
    initrd: files.initrd?.jail,
    bootArgs: withParameters(spec.bootArgs, vmm.bootArgs(spec.bootArgs, disks, program)),
    vcpus: spec.vcpus,
    memoryMiB: spec.memory,
    disks,
    // `withNetwork` adds the VM's own.
    network: false,
    confinement,
    firecracker: files.firecracker,
    restore: files.restore,
  }
}

/** What is known of a run that is planned. */
export interface PlanOptions {
  readonly boot: Boot
  readonly cgroup?: string | undefined
  /** The bridge of the user's that its card is to be on. */
  readonly bridge?: { readonly bridge: string; readonly vlan: number | undefined } | undefined
  /** Its drives that are made of qcow2 images, and their places in the spec. */
  readonly converted?: readonly {
    readonly index: number
    readonly path?: string | undefined
    readonly persist?: string
  }[]
  /** The snapshot that it goes on from; `again`: whether others may too. */
  readonly restore?: { readonly dir: string; readonly again: boolean } | undefined
}

/** Every step of a run, in order, as `--plan` prints it. Pure. */
export function planSteps(
  layout: VmLayout,
  { vmm, program }: Chosen,
  { boot, cgroup, bridge, converted = [], restore }: PlanOptions,
): readonly string[] {
  const { confinement } = boot
  const { argv, control } = vmm.launch(program, boot, layout)
  const command = shellWords(argv)
  const network = networkSteps(boot, bridge)
  const disks = boot.disks.flatMap(({ persist }) => persist ?? [])
  return [
    `add a record of ${boot.name} to state.db`,
    ...disks.map((disk) => `claim the disk ${disk} for it alone (made in ${layout.disks} unless it is there)`),
    ...(restore === undefined ? [] : [claimStep(restore)]),
    `make ${layout.dir} (0700) for handles.json, events.jsonl, plugin.json, console.log and vmm.log`,
    `make ${layout.runtime} (1700), ${layout.consoleInput} (FIFO, 0600) and ${control.host} (socket, 0600)`,
    ...(confinement === undefined
      ? [`make ${layout.stage} (0700)`]
      : jailSteps(layout, boot, { ...confinement, vmm: vmm.name })),
    ...converted.map(
      ({ index, path, persist }) =>
        `convert ${path} (qcow2) into ${persist === undefined ? `${savedDisk(index)}, a raw copy that is the VM's own` : `the disk ${persist}, unless that is there`}`,
    ),
    ...network.lease,
    "run preBoot hooks, which may stage files and add drives",
    ...(confinement === undefined
      ? []
      : [`give the jail to uid ${confinement.uid} and move it to ${confinement.root}`]),
    ...network.make,
    ...(cgroup === undefined ? [] : [`make the cgroup ${cgroup}`]),
    `start ${vmm.name}: ${command}`,
    ...(boot.restore === undefined ? [] : [loadStep(boot.restore)]),
    "run postBoot hooks once it runs",
    "wait for its end; when asked to stop: run preStop hooks, press Ctrl-Alt-Del, at last kill it",
    "run postStop hooks",
    ...disks.map((disk) => `keep the disk ${disk}, for the next VM that claims it`),
    `remove ${[...network.gone, confinement?.root ?? layout.stage].join(", ")} and ${layout.runtime}, and check that they and the process are gone`,
  ]
}

// --- internal ---

function claimStep({ dir, again }: NonNullable<PlanOptions["restore"]>): string {
  const others = again ? "others may be restored from it too (unsafeClone)" : "a second restore of it is refused"
  return `note that the snapshot ${dir} is restored: ${others}`
}

function loadStep({ state, memory, uffd }: SnapshotFiles): string {
  const from = uffd === true ? `memory from the program at ${memory}` : `memory ${memory}`
  return `load the snapshot (state ${state}, ${from}) instead of booting, and let its guest run on`
}

function networkSteps(
  { network, bootArgs }: Boot,
  users: PlanOptions["bridge"],
): Record<"lease" | "make" | "gone", readonly string[]> {
  if (network === false || network.tap === undefined) return { lease: [], make: [], gone: [] }
  const { tap, mac, netns } = network
  if (users !== undefined) {
    const { bridge, vlan } = users
    return {
      lease: [`lease the MAC ${mac} on ${bridge}, a bridge that is there`],
      make: [
        `make the nftables rules of the tap ${tap}, and the tap on ${bridge}${vlan === undefined ? "" : ` in VLAN ${vlan}`}`,
      ],
      gone: [`the tap ${tap}, its rules and its lease`],
    }
  }
  const address = /^[\d.]+/.exec(parameterOf(bootArgs, "ip") ?? "")?.[0] ?? "an address"
  const where = netns === undefined ? "" : " in a network namespace of its own"
  return {
    lease: [`lease ${address} and the MAC ${mac} (or the first address that is free)`],
    make: [`make the bridge unless it is there, the tap ${tap} on it${where}, and the nftables rules`],
    gone: [`the tap ${tap}, its rules and its lease`],
  }
}

function jailSteps(
  layout: VmLayout,
  boot: Boot,
  { uid, vmm }: Confinement & { readonly vmm: Vmm["name"] },
): readonly string[] {
  const lasting = boot.disks.filter(({ persist }) => persist !== undefined)
  const { pmem = [], vhost_user = [] } = vmm === "firecracker" ? boot.firecracker : {}
  const devices = boot.disks.filter(({ device }) => device)
  const copied = [
    ...boot.disks.filter(({ device, readonly, persist }) => !device && !readonly && persist === undefined),
    ...pmem.filter(({ read_only }) => read_only !== true),
  ]
  const named = (disks: readonly { readonly id: string }[], as: string) =>
    disks.length === 0 ? "" : `; ${disks.map(({ id }) => id).join(", ")} as ${as}`
  return [
    `take the uid ${uid} for this VM alone`,
    `make a jail in ${layout.jails} (its root 0700), mounted on itself nosuid, nodev, noexec`,
    `stage the kernel, the initrd${boot.restore === undefined ? "" : ", the snapshot's state and memory"} and what is only read by read-only binds${named(copied, "private copies")}${named(lasting, "the persistent disks themselves")}${named(devices, "device nodes")}${named(vhost_user, "sockets of their programs")}`,
  ]
}
