import { descriptor } from "./guards.ts"
import { checked, libc } from "./libc.ts"

/** The version of KVM's API: 12 since Linux 2.6.22 (KVM_GET_API_VERSION on /dev/kvm). */
export function kvmVersion(fd: number): number {
  return checked("ioctl(KVM_GET_API_VERSION)", () => libc.ioctl(descriptor(fd), 0xae00, 0))
}

/** Whether KVM has a capability, by its number in linux/kvm.h (KVM_CHECK_EXTENSION on /dev/kvm). */
export function kvmHas(fd: number, capability: number): boolean {
  return checked("ioctl(KVM_CHECK_EXTENSION)", () => libc.ioctl(descriptor(fd), 0xae03, capability)) > 0
}
