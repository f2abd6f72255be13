import { accountOf } from "../../base/linux/accounts.ts"
import { S } from "../../base/linux/constants.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { isType } from "../../base/linux/files.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { messageOf } from "../../base/terms/failure.ts"
import type { Tried } from "./tried.ts"

/** What is read of a host to judge its KVM, so that a test can give any host. */
export interface KvmHost {
  readonly uid: number
  readonly arch: string
  read(path: string): string | undefined
  stat(path: string): Stat | undefined
  /** Throws where a device cannot be opened for reading and writing. */
  open(path: string): void
  kvm(): { version: number; has(capability: number): boolean }
  /** Whether a guest can run by KVM, found out by running one. */
  tryGuest(): Promise<Tried>
}

/** Whether KVM can be used, and if not, why and what mends it. `broken`: it is there for this user, and not as it must be. */
export type Judgement =
  | { readonly is: "usable" }
  | { readonly is: "unusable"; readonly words: string; readonly hint?: string | undefined; readonly broken?: boolean }
  | { readonly is: "unknown"; readonly words: string }

/** Whether guests with a stock kernel run by KVM here, for this user and for a VMM. `doctor` and `vmm: "auto"` both go by it. */
export async function judgeKvm(host: KvmHost, vmm: "firecracker" | "qemu"): Promise<Judgement> {
  const device = judgeDevice(host, vmm)
  return device.is === "usable" ? judgeGuests(host) : device
}

/** Whether this user can open /dev/kvm, and whether it has what a VMM needs. */
export function judgeDevice(host: KvmHost, vmm: "firecracker" | "qemu"): Judgement {
  const stat = host.stat("/dev/kvm")
  if (stat === undefined) return absent(host)
  if (!isType(stat, S.IFCHR) || stat.rdev !== "10:232") {
    return broken("/dev/kvm is not KVM's device", "rm /dev/kvm && mknod -m 660 /dev/kvm c 10 232")
  }
  try {
    host.open("/dev/kvm")
  } catch (error) {
    return closed(host, stat, error)
  }
  const { version, has } = host.kvm()
  if (version !== 12) return broken(`/dev/kvm speaks version ${version} of its API, not 12`)
  const needed = vmm === "qemu" ? [] : Object.entries(CAPABILITIES[host.arch] ?? {})
  const missing = needed.flatMap(([name, number]) => (has(number) ? [] : [name]))
  if (missing.length > 0) return broken(`KVM lacks what Firecracker needs: ${missing.join(", ")}`)
  return { is: "usable" }
}

/** Whether a guest of a stock kernel runs by a KVM that can be opened. */
export async function judgeGuests(host: KvmHost): Promise<Judgement> {
  // No guest is made for other processors yet: theirs is taken for good.
  if (host.arch !== "x64") return { is: "usable" }
  const tried = await host.tryGuest()
  if (tried.is === "works") return { is: "usable" }
  const { words } = tried
  if (tried.is === "unknown") return { is: "unknown", words: `whether guests run by KVM cannot be told: ${words}` }
  return { is: "unusable", words: `stock kernels do not boot by the KVM here: ${words}` }
}

/** The flags of the first processor; none on other architectures. */
export function cpuFlags(host: Pick<KvmHost, "read">): ReadonlySet<string> {
  const text = host.read("/proc/cpuinfo") ?? ""
  return new Set(/^flags\s*: (.*)$/m.exec(text)?.[1]?.split(" ") ?? [])
}

// --- internal ---

/** What Firecracker asks of KVM, by the numbers of linux/kvm.h. */
const CAPABILITIES: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  x64: {
    IRQCHIP: 0,
    USER_MEMORY: 3,
    SET_TSS_ADDR: 4,
    EXT_CPUID: 7,
    MP_STATE: 14,
    IRQFD: 32,
    PIT2: 33,
    PIT_STATE2: 35,
    IOEVENTFD: 36,
    ADJUST_CLOCK: 39,
    VCPU_EVENTS: 41,
    DEBUGREGS: 50,
    XSAVE: 55,
    XCRS: 56,
  },
  arm64: { USER_MEMORY: 3, MP_STATE: 14, IRQFD: 32, IOEVENTFD: 36, ONE_REG: 70, DEVICE_CTRL: 89, ARM_PSCI_0_2: 102 },
}

function broken(words: string, hint?: string): Judgement {
  return { is: "unusable", words, hint, broken: true }
}

function absent(host: KvmHost): Judgement {
  const flags = cpuFlags(host)
  const vendor = flags.has("vmx") ? "kvm_intel" : flags.has("svm") ? "kvm_amd" : undefined
  if (vendor !== undefined) return { is: "unusable", words: "there is no /dev/kvm", hint: `modprobe ${vendor}` }
  const hint = "switch virtualization on in the firmware, or use a machine (or a kind of cloud VM) that has it"
  return { is: "unusable", words: "there is no /dev/kvm, and this processor shows no virtualization", hint }
}

function closed(host: KvmHost, { gid, mode }: Stat, error: unknown): Judgement {
  if (errorCode(error) !== "EACCES" && errorCode(error) !== "EPERM") {
    const hint = "modprobe kvm_intel || modprobe kvm_amd"
    return { is: "unusable", words: `/dev/kvm cannot be opened: ${messageOf(error)}`, hint }
  }
  const group = host
    .read("/etc/group")
    ?.split("\n")
    .find((line) => line.split(":")[2] === String(gid))
    ?.split(":")[0]
  const user = accountOf(host.uid)?.name ?? String(host.uid)
  const who = `${(mode & 0o777).toString(8)}, group ${group ?? gid}`
  const hint =
    (mode & 0o060) === 0o060 && gid !== 0 && group !== undefined
      ? `usermod -aG ${group} ${user}, then log in again`
      : `setfacl -m u:${user}:rw /dev/kvm`
  return { is: "unusable", words: `/dev/kvm (${who}) is not for ${user} to open`, hint }
}
