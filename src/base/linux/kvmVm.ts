import { type Pointer, ptr, toArrayBuffer } from "bun:ffi"
import { descriptor, fixed } from "./guards.ts"
import { checked, libc, rawSyscall, retried } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"

/** Memory that is mapped at a whole page, and stays mapped as long as this process lives. */
export interface Mapped {
  readonly address: number
  readonly bytes: Uint8Array<ArrayBuffer>
}

/** Memory shared with the kernel (mmap(2), MAP_SHARED): a descriptor's, or with -1 new and zeroed. */
export function mapShared(length: number, fd = -1): Mapped {
  const flags = fd === -1 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED
  const address = rawSyscall("mmap", syscallNumber("mmap"), [0, length, PROT_READ | PROT_WRITE, flags, fd, 0])
  return { address, bytes: new Uint8Array(toArrayBuffer(address as Pointer, 0, length)) }
}

/** Makes a VM without memory, processor or device (KVM_CREATE_VM on /dev/kvm): its descriptor. */
export function createKvmVm(kvm: number): number {
  return checked("ioctl KVM_CREATE_VM", () => libc.ioctl(descriptor(kvm), 0xae01, 0))
}

/** Gives a VM its memory, from guest address 0 on (KVM_SET_USER_MEMORY_REGION). */
export function setKvmMemory(vm: number, { address, bytes }: Mapped): void {
  const region = new BigUint64Array(fixed(32).buffer)
  region.set([BigInt(bytes.length), BigInt(address)], 2)
  checked("ioctl KVM_SET_USER_MEMORY_REGION", () => libc.ioctl(descriptor(vm), 0x4020ae46, ptr(region)))
}

/** Keeps three pages of guest addresses for KVM itself, which Intel's processors need (KVM_SET_TSS_ADDR). */
export function setKvmTss(vm: number, address: number): void {
  checked("ioctl KVM_SET_TSS_ADDR", () => libc.ioctl(descriptor(vm), 0xae47, address))
}

/** A VM's first processor (KVM_CREATE_VCPU): its descriptor, and the structure that says why it stopped (struct kvm_run). */
export function createKvmProcessor(kvm: number, vm: number): { readonly fd: number; readonly run: Mapped } {
  const fd = checked("ioctl KVM_CREATE_VCPU", () => libc.ioctl(descriptor(vm), 0xae41, 0))
  const length = checked("ioctl KVM_GET_VCPU_MMAP_SIZE", () => libc.ioctl(descriptor(kvm), 0xae04, 0))
  return { fd, run: mapShared(length, fd) }
}

/** Lets a processor show its guest all that KVM has (KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2). */
export function setKvmCpuid(kvm: number, processor: number): void {
  const all = fixed(8 + CPUID_MAX_COUNT * 40)
  new DataView(all.buffer).setUint32(0, CPUID_MAX_COUNT, true)
  checked("ioctl KVM_GET_SUPPORTED_CPUID", () => libc.ioctl(descriptor(kvm), 0xc008ae05, ptr(all)))
  checked("ioctl KVM_SET_CPUID2", () => libc.ioctl(descriptor(processor), 0x4008ae90, ptr(all)))
}

/** Changes a processor's segments and control registers: struct kvm_sregs, x86 (KVM_GET_SREGS, KVM_SET_SREGS). */
export function changeKvmSregs(processor: number, change: (sregs: DataView) => void): void {
  const sregs = fixed(0x138)
  checked("ioctl KVM_GET_SREGS", () => libc.ioctl(descriptor(processor), 0x8138ae83, ptr(sregs)))
  change(new DataView(sregs.buffer))
  checked("ioctl KVM_SET_SREGS", () => libc.ioctl(descriptor(processor), 0x4138ae84, ptr(sregs)))
}

/** Sets a processor's other registers, the rest zero: struct kvm_regs, x86 (KVM_SET_REGS). */
export function setKvmRegs(processor: number, { rip, rsp }: { readonly rip: number; readonly rsp: number }): void {
  const regs = new BigUint64Array(fixed(0x90).buffer)
  regs[6] = BigInt(rsp)
  regs[16] = BigInt(rip)
  // The bit of RFLAGS that is always set.
  regs[17] = 2n
  checked("ioctl KVM_SET_REGS", () => libc.ioctl(descriptor(processor), 0x4090ae82, ptr(regs)))
}

/** Runs a processor until its guest needs something; `run` says what. Blocks this thread for as long (KVM_RUN). */
export function runKvmProcessor(processor: number): void {
  retried("ioctl KVM_RUN", () => libc.ioctl(descriptor(processor), 0xae80, 0))
}

// --- internal ---

const PROT_READ = 1
const PROT_WRITE = 2
const MAP_SHARED = 1
const MAP_ANONYMOUS = 0x20

/** KVM itself has fewer. */
const CPUID_MAX_COUNT = 256
