import { expect, test } from "bun:test"
import { hostPath, jailPath } from "../../../src/base/terms/path.ts"
import { qemuArgv } from "../../../src/host/qemu/argv.ts"
import { exitReason, parseVersion } from "../../../src/host/qemu/qemu.ts"
import { tscArgs } from "../../../src/host/qemu/tscArgs.ts"
import type { Boot } from "../../../src/host/vmm/vmm.ts"

const BOOT: Boot = {
  name: "vm-1",
  kernel: jailPath("/k"),
  initrd: undefined,
  bootArgs: "console=ttyS0",
  vcpus: 2,
  memoryMiB: 512,
  disks: [],
  network: false,
  confinement: undefined,
  firecracker: {},
  restore: undefined,
}
const program = { path: "/bin/qemu", version: [7, 2] } as const
const line = (boot: Partial<Boot>) => qemuArgv(program, { ...BOOT, ...boot }).join(" ")

test.each([
  [[7, 2], "-chroot /j,a -runas 7:8"],
  [[8, 1], "-run-with chroot=/j,,a -runas 7:8"],
  [[9, 0], "-run-with chroot=/j,,a -runas 7:8"],
  [[9, 1], "-run-with chroot=/j,,a,user=7:8"],
  [[10, 0], "-run-with chroot=/j,,a,user=7:8"],
] as const)("QEMU %p locks itself in by %s", (version, words) => {
  const confinement = { root: hostPath("/j,a"), uid: 7, gid: 8 }
  expect(qemuArgv({ path: "/q", version }, { ...BOOT, confinement }).join(" ")).toContain(` ${words} -M `)
})

test.each([
  ["QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright", [7, 2]],
  ["QEMU emulator version 10.0.3", [10, 0]],
  ["qemu-kvm 1.0", undefined],
  ["", undefined],
] as const)("the version of %p is %p", (text, version) => expect(parseVersion(text)).toEqual(version && [...version]))

test.each([
  ["the machine", {}, "-M microvm,rtc=on,pic=on,pit=on -accel tcg -cpu max -device i8042"],
  ["its size", {}, "-smp 2 -m 512M"],
  ["a halted guest and no second boot", {}, "-no-reboot -S"],
  ["the control socket, as a descriptor", {}, "-chardev socket,id=control,fd=3,server=on,wait=off"],
  ["the kernel", {}, "-kernel /k -append console=ttyS0"],
  ["an initrd", { initrd: jailPath("/i") }, "-kernel /k -initrd /i -append"],
  [
    "the user network",
    { network: { tap: undefined, mac: undefined, ports: [], netns: undefined, mtu: undefined } },
    "-netdev user,id=net0 -device virtio-net-device,netdev=net0",
  ],
  [
    "the user network's ports",
    {
      network: {
        tap: undefined,
        mac: "02:00:00:00:00:01",
        ports: [
          { protocol: "tcp", host: 8080, guest: 80 },
          { protocol: "udp", address: "127.0.0.1", host: 53, guest: 53 },
        ],
        netns: undefined,
        mtu: undefined,
      },
    },
    "-netdev user,id=net0,hostfwd=tcp::8080-:80,hostfwd=udp:127.0.0.1:53-:53 -device virtio-net-device,netdev=net0,mac=02:00:00:00:00:01",
  ],
  [
    "a tap",
    { network: { tap: "bgrabcd1234", mac: "02:00:00:00:00:01", ports: [], netns: undefined, mtu: undefined } },
    "-netdev tap,id=net0,ifname=bgrabcd1234,script=no,downscript=no -device virtio-net-device,netdev=net0,mac=02:00:00:00:00:01",
  ],
  [
    "what a frame may carry",
    { network: { tap: "bgrabcd1234", mac: undefined, ports: [], netns: undefined, mtu: 1400 } },
    "-device virtio-net-device,netdev=net0,host_mtu=1400",
  ],
] as const)("the command line has %s", (_, boot, part) => expect(line(boot)).toContain(part))

test("nothing is there that was not asked for", () => {
  expect(line({})).toStartWith("/bin/qemu -name vm-1 -nodefaults -no-user-config -display none -sandbox on")
  expect(line({})).not.toContain("-netdev")
  expect(line({})).not.toContain("-initrd")
})

test.each(["/a,b.img", '/a"b.img', "/a b.img", "/a=b,readonly=off.img", "/ä.img"])(
  "the disk path %p reaches QEMU as it is",
  (path) => {
    const argv = qemuArgv(program, {
      ...BOOT,
      disks: [{ id: "d", path: jailPath(path), readonly: true, device: false, root: false }],
    })
    const blockdev = JSON.parse(argv[argv.indexOf("-blockdev") + 1] ?? "")
    expect(blockdev).toMatchObject({ driver: "raw", "read-only": true, file: { filename: path, "read-only": true } })
  },
)

test.each([
  [false, "file"],
  [true, "host_device"],
])("a disk that is a block device (%p) is opened by QEMU's driver %s", (device, driver) => {
  const argv = qemuArgv(program, {
    ...BOOT,
    disks: [{ id: "d", path: jailPath("/d"), readonly: false, device, root: false }],
  })
  expect(JSON.parse(argv[argv.indexOf("-blockdev") + 1] ?? "").file.driver).toBe(driver)
})

test("the guest hears of a disk that fails", () => {
  const disks = [{ id: "d", path: jailPath("/d"), readonly: false, device: false, root: false }]
  expect(line({ disks })).toContain("-device virtio-blk-device,drive=disk0,serial=d,werror=report,rerror=report")
})

test("disks keep their order and their names", () => {
  const disks = ["one", "two", "three"].map((id) => ({
    id,
    path: jailPath(`/${id}`),
    readonly: false,
    device: false,
    root: false,
  }))
  expect(line({ disks }).match(/serial=\w+/g)).toEqual(["serial=one", "serial=two", "serial=three"])
})

test.each([
  [0, null, "guest-reset", "guest reset"],
  [0, null, "guest-shutdown", "guest powered off"],
  [0, null, "guest-panic", "guest panicked"],
  [0, null, "host-signal", "stopped"],
  [0, null, "host-qmp-quit", "stopped"],
  [0, null, undefined, "stopped"],
  [1, null, undefined, "crashed"],
  [null, "SIGKILL", "guest-reset", "killed"],
  [null, "SIGSEGV", undefined, "crashed"],
] as const)("exit code %p, signal %p and %p mean: %s", (code, signal, announced, reason) => {
  expect(exitReason({ code, signal, announced })).toBe(reason)
})

const CPU = "processor\t: 0\nflags\t\t: fpu tsc constant_tsc nopl\nbogomips\t: 5192.27\n"
test.each([
  ["console=ttyS0", CPU, ["tsc_early_khz=2596135"]],
  ["tsc_early_khz=1", CPU, []],
  ["notsc_early_khz=1", CPU, ["tsc_early_khz=2596135"]],
  ["", CPU.replace("constant_tsc", "x"), []],
  ["", "", []],
] as const)("on the command line %p banger adds what this host's counter needs", (given, cpuinfo, added) => {
  expect(tscArgs(given, cpuinfo)).toEqual([...added])
})
