import { hostPath, jailPath } from "../../../src/base/terms/path.ts"
import type { Boot } from "../../../src/host/vmm/vmm.ts"

/** A boot with an initrd and two disks, in a jail. */
export const BOOT: Boot = {
  ...{
    name: "vm-1",
    kernel: jailPath("/kernel"),
    initrd: jailPath("/initrd"),
    bootArgs: "quiet",
    vcpus: 2,
    memoryMiB: 512,
  },
  disks: [
    { id: "disk1", path: jailPath("/disk1"), readonly: true, device: false, root: true },
    { id: "disk0", path: jailPath("/disk0"), readonly: false, device: false, root: false },
  ],
  network: false,
  confinement: { root: hostPath("/j/root"), uid: 7, gid: 8 },
  firecracker: {},
  restore: undefined,
}

/** The files that Firecracker makes. */
export const FILES = { vsock: jailPath("/vsock.sock"), metrics: jailPath("/metrics.json") }
