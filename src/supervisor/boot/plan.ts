import { shellWords } from "../../base/terms/shell.ts"
import type { Boot, Confinement, Program, SnapshotFiles, Vmm } from "../../host/vmm/vmm.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import type { VmLayout } from "../../store/state/places.ts"

type Drive = Spec["drives"][number]

/** A drive of which it was looked up whether it is a block device. */
export type FoundDrive = Drive & { readonly device: boolean }

/**
 * The boot of a spec with these drives (its own, and those that hooks added; the root drive goes first), in the jail it
 * goes into. Pure but for what the VMM looks up of this host.
 */
export function planBoot(
  spec: Spec,
  vmName: string,
  drives: readonly FoundDrive[],
  vmm: Pick<Vmm, "bootArgs">,
  confinement: Confinement | undefined,
  restore: SnapshotFiles | undefined = undefined,
): Boot {
  const numbered = drives.map(({ id, path, readonly, device, root }, index) => ({
    ...{ id: id ?? `disk${index}`, path, readonly, device, root },
  }))
  const disks = [...numbered.filter(({ root }) => root), ...numbered.filter(({ root }) => !root)]
  return {
    name: vmName,
    kernel: spec.kernel,
    initrd: spec.initrd,
    bootArgs: [spec.bootArgs, ...vmm.bootArgs(spec.bootArgs, disks)].join(" "),
    vcpus: spec.vcpus,
    memoryMiB: spec.memory,
    disks,
    // The VM's own is added when it has one; see network.ts.
    network: false,
    confinement,
    firecracker: spec.firecracker,
    restore,
  }
}

/** A spec with its files where a jail has them. Pure. */
export function inJail<S extends Pick<Spec, "kernel" | "initrd" | "drives">>(spec: S, root: string): S {
  const drives = spec.drives.map((drive, index) => ({ ...drive, path: `${root}/disk${index}` }))
  return { ...spec, kernel: `${root}/kernel`, initrd: spec.initrd && `${root}/initrd`, drives }
}

/** Every step of a run, in order, as `--plan` prints it. Pure. */
export function planSteps(
  layout: VmLayout,
  vmm: Vmm,
  program: Program,
  boot: Boot,
  cgroup?: string,
): readonly string[] {
  const { confinement } = boot
  const { argv, control } = vmm.launch(program, boot, { ...layout, cgroup: undefined })
  const command = shellWords(argv)
  const network = networkSteps(boot)
  return [
    `add a record of ${boot.name} to state.db`,
    `make ${layout.dir} (0700) for handles.json, events.jsonl, plugin.json, console.log and vmm.log`,
    `make ${layout.runtime} (1700), ${layout.consoleInput} (FIFO, 0600) and ${control} (socket, 0600)`,
    ...(confinement === undefined ? [`make ${layout.stage} (0700)`] : jailSteps(layout, boot, confinement)),
    ...network.lease,
    "run preBoot hooks, which may stage files and add drives",
    ...(confinement === undefined
      ? []
      : [`give the jail to uid ${confinement.uid} and move it to ${confinement.root}`]),
    ...network.make,
    ...(cgroup === undefined ? [] : [`make the cgroup ${cgroup}`]),
    `start ${vmm.name}: ${command}`,
    "run postBoot hooks once it runs",
    "wait for its end; when asked to stop: run preStop hooks, press Ctrl-Alt-Del, at last kill it",
    "run postStop hooks",
    `remove ${[...network.gone, confinement?.root ?? layout.stage].join(", ")} and ${layout.runtime}, and check that they and the process are gone`,
  ]
}

// --- internal ---

function networkSteps({ network, bootArgs }: Boot): Record<"lease" | "make" | "gone", readonly string[]> {
  if (network === false || network.tap === undefined) return { lease: [], make: [], gone: [] }
  const { tap, mac, netns } = network
  const address = /(?:^| )ip=([\d.]+)/.exec(bootArgs)?.[1] ?? "an address"
  const where = netns === undefined ? "" : " in a network namespace of its own"
  return {
    lease: [`lease ${address} and the MAC ${mac} (or the first address that is free)`],
    make: [`make the bridge unless it is there, the tap ${tap} on it${where}, and the nftables rules`],
    gone: [`the tap ${tap}, its rules and its lease`],
  }
}

function jailSteps(layout: VmLayout, boot: Boot, { uid }: Confinement): readonly string[] {
  const devices = boot.disks.filter(({ device }) => device)
  const copied = boot.disks.filter(({ device, readonly }) => !device && !readonly)
  const named = (disks: Boot["disks"], as: string) =>
    disks.length === 0 ? "" : `; ${disks.map(({ id }) => id).join(", ")} as ${as}`
  return [
    `take the uid ${uid} for this VM alone`,
    `make a jail in ${layout.jails} (its root 0700), mounted on itself nosuid, nodev, noexec`,
    `stage the kernel, the initrd and what is only read by read-only binds${named(copied, "private copies")}${named(devices, "device nodes")}`,
  ]
}
