import { type HostPath, type JailPath, seenFromHost } from "../../base/terms/path.ts"
import type { Boot, BootNetwork, Confinement, Disk, Program, Version } from "../vmm/vmm.ts"

/**
 * The command line of QEMU 7.2 and newer for one microVM, by KVM or under software emulation. Descriptor 3 is a listening unix
 * socket that becomes the control socket; the serial console is on standard input and output.
 */
export function qemuArgv({ path, version, accel = "tcg" }: Program, boot: Boot): readonly string[] {
  // QEMU opens its files, and /dev/kvm, before it locks itself in.
  const seen = (file: JailPath) => seenFromHost(file, boot.confinement?.root)
  return [
    path,
    ...["-name", boot.name],
    // Nothing but what is asked for: no default devices, no configuration files, no window.
    ...["-nodefaults", "-no-user-config", "-display", "none"],
    ...["-sandbox", "on,obsolete=deny,resourcecontrol=deny"],
    ...(boot.confinement === undefined ? [] : confinementArgv(boot.confinement, version)),
    // A PIT, PIC and RTC because stock kernels want them; an i8042 because Ctrl-Alt-Del comes through it.
    ...["-M", "microvm,rtc=on,pic=on,pit=on", "-accel", accel, "-cpu", CPU[accel]],
    ...["-device", "i8042"],
    // A guest with a driver for it reports its kernel's panic at once.
    ...["-device", "pvpanic"],
    ...["-smp", String(boot.vcpus), "-m", `${boot.memoryMiB}M`],
    // A guest's reboot ends the VM; a new boot would be a new VM.
    "-no-reboot",
    // The guest's first instruction waits until the control connection is up, so that no event is missed.
    "-S",
    ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    ...["-chardev", "socket,id=control,fd=3,server=on,wait=off", "-mon", "chardev=control,mode=control"],
    ...["-kernel", seen(boot.kernel)],
    ...(boot.initrd === undefined ? [] : ["-initrd", seen(boot.initrd)]),
    ...["-append", boot.bootArgs],
    ...diskArgv(boot.disks, seen),
    ...(boot.network === false ? [] : networkArgv(boot.network)),
  ]
}

/** Whether a version is the wanted one or newer. */
export function isAtLeast([major, minor]: Version, [wantedMajor, wantedMinor]: Version): boolean {
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)
}

/** The words that tell a kernel where its root file system is, when the first disk has it. Pure. */
export function rootArgs(disks: readonly Disk[]): readonly string[] {
  const [disk] = disks
  return disk?.root ? ["root=/dev/vda", disk.readonly ? "ro" : "rw"] : []
}

// --- internal ---

/** All that the accelerator has. */
const CPU = { kvm: "host", tcg: "max" } as const

/**
 * QEMU opens its files with the rights it was started with, then locks itself in: new root, uid and gid, no other groups. `-chroot`
 * gave way to `-run-with chroot=` in 8.1 and went in 9.0; `-runas` to `-run-with user=` in 9.1 (QEMU's removed-features).
 */
function confinementArgv({ root, uid, gid }: Confinement, version: Version): readonly string[] {
  const directory = root.replaceAll(",", ",,")
  if (isAtLeast(version, [9, 1])) return ["-run-with", `chroot=${directory},user=${uid}:${gid}`]
  const chroot = isAtLeast(version, [8, 1]) ? ["-run-with", `chroot=${directory}`] : ["-chroot", root]
  return [...chroot, "-runas", `${uid}:${gid}`]
}

/** QEMU opens the tap by its name, before it locks itself in. */
function networkArgv({ tap, mac, ports, mtu }: BootNetwork): readonly string[] {
  const forwards = ports.map(
    ({ protocol, address = "", host, guest }) => `,hostfwd=${protocol}:${address}:${host}-:${guest}`,
  )
  const backend =
    tap === undefined ? `user,id=net0${forwards.join("")}` : `tap,id=net0,ifname=${tap},script=no,downscript=no`
  const own = [...(mac === undefined ? [] : [`mac=${mac}`]), ...(mtu === undefined ? [] : [`host_mtu=${mtu}`])]
  return ["-netdev", backend, "-device", ["virtio-net-device", "netdev=net0", ...own].join(",")]
}

function diskArgv(disks: readonly Disk[], seen: (file: JailPath) => HostPath): readonly string[] {
  return disks.flatMap((disk, index) => {
    const node = `disk${index}`
    const driver = disk.device ? "host_device" : "file"
    const file = { driver, filename: seen(disk.path), "read-only": disk.readonly, locking: "auto" }
    const blockdev = { driver: "raw", "node-name": node, "read-only": disk.readonly, file }
    // The guest is told of a full or broken disk of the host. By default QEMU would pause it, for ever, when the disk is full.
    const device = `virtio-blk-device,drive=${node},serial=${disk.id},werror=report,rerror=report`
    return ["-blockdev", JSON.stringify(blockdev), "-device", device]
  })
}
