import type { Boot, Disk } from "./vmm.ts"

/**
 * The command line of QEMU 7.2 and newer for one microVM under software emulation. Descriptor 3 is a listening unix
 * socket that becomes the control socket; the serial console is on standard input and output.
 */
export function qemuArgv(executable: string, boot: Boot): readonly string[] {
  return [
    executable,
    ...["-name", boot.name],
    // Nothing but what is asked for: no default devices, no configuration files, no window.
    ...["-nodefaults", "-no-user-config", "-display", "none"],
    ...["-sandbox", "on,obsolete=deny,resourcecontrol=deny"],
    // A PIT, PIC and RTC because stock kernels want them; an i8042 because Ctrl-Alt-Del comes through it.
    ...["-M", "microvm,rtc=on,pic=on,pit=on", "-accel", "tcg", "-cpu", "max", "-device", "i8042"],
    // A guest with a driver for it tells of its kernel's panic at once.
    ...["-device", "pvpanic"],
    ...["-smp", String(boot.vcpus), "-m", `${boot.memoryMiB}M`],
    // A guest's reboot ends the VM; a new boot would be a new VM.
    "-no-reboot",
    // The guest's first instruction waits until the control connection is up, so that no event is missed.
    "-S",
    ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    ...["-chardev", "socket,id=control,fd=3,server=on,wait=off", "-mon", "chardev=control,mode=control"],
    ...["-kernel", boot.kernel],
    ...(boot.initrd === undefined ? [] : ["-initrd", boot.initrd]),
    ...["-append", boot.bootArgs],
    ...diskArgv(boot.disks),
    ...(boot.network === "user" ? ["-netdev", "user,id=net0", "-device", "virtio-net-device,netdev=net0"] : []),
  ]
}

// --- internal ---

function diskArgv(disks: readonly Disk[]): readonly string[] {
  return disks.flatMap((disk, index) => {
    const node = `disk${index}`
    const file = { driver: "file", filename: disk.path, "read-only": disk.readonly, locking: "auto" }
    const blockdev = { driver: "raw", "node-name": node, "read-only": disk.readonly, file }
    return ["-blockdev", JSON.stringify(blockdev), "-device", `virtio-blk-device,drive=${node},serial=${disk.id}`]
  })
}
