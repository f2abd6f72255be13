import { accountOf } from "../../base/linux/accounts.ts"
import { S } from "../../base/linux/constants.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { isType } from "../../base/linux/files.ts"
import { messageOf } from "../../base/terms/failure.ts"
import { type Finding, fail, ok, unknown, warn } from "./finding.ts"
import type { Host } from "./host.ts"
import { cpuFlags } from "./kernel.ts"

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

/** Whether this user can use KVM, and whether it has what Firecracker needs. */
export function checkKvm(host: Host): Finding {
  const stat = host.stat("/dev/kvm")
  if (stat === undefined) return absent(host)
  if (!isType(stat, S.IFCHR) || stat.rdev !== "10:232") {
    return fail("/dev/kvm is not KVM's device", "rm /dev/kvm && mknod -m 660 /dev/kvm c 10 232")
  }
  try {
    host.open("/dev/kvm")
  } catch (error) {
    return unusable(host, stat, error)
  }
  const { version, has } = host.kvm()
  if (version !== 12) return fail(`/dev/kvm speaks version ${version} of its API, not 12`)
  const missing = Object.entries(CAPABILITIES[host.arch] ?? {}).flatMap(([name, number]) => (has(number) ? [] : [name]))
  if (missing.length > 0) return fail(`KVM lacks what Firecracker needs: ${missing.join(", ")}`, 'use vmm: "qemu"')
  return ok("/dev/kvm can be used, and has what Firecracker needs")
}

/** Whether ordinary guests boot by this KVM. */
export function checkGuests(host: Host): Finding {
  const flags = cpuFlags(host)
  if (host.stat("/dev/kvm") === undefined) return unknown("there is no KVM here that guests could boot by")
  const pvm = host.list("/sys/module/kvm_pvm") !== undefined
  if (pvm && !flags.has("vmx") && !flags.has("svm")) {
    return warn(
      "KVM here is PVM, without vmx or svm: stock guest kernels do not boot by it, only those made for PVM",
      'use vmm: "qemu" for other guests',
    )
  }
  if (flags.has("hypervisor")) return warn("this host is itself a VM: nested guests are slower, and some do not start")
  const ept = host.read("/sys/module/kvm_intel/parameters/ept")?.trim()
  if (ept !== undefined && ept !== "Y")
    return warn(`kvm_intel has ept=${ept}: guests are slow`, "modprobe -r kvm_intel && modprobe kvm_intel ept=1")
  return ok("ordinary guests boot by KVM here, as far as can be told")
}

// --- internal ---

const EMULATED = "guests run emulated, by QEMU, and slowly"

function absent(host: Host): Finding {
  const flags = cpuFlags(host)
  const vendor = flags.has("vmx") ? "kvm_intel" : flags.has("svm") ? "kvm_amd" : undefined
  if (vendor !== undefined) return warn(`there is no /dev/kvm: ${EMULATED}`, `modprobe ${vendor}`)
  const hint = "switch virtualization on in the firmware, or use a machine (or a kind of cloud VM) that has it"
  return warn(`there is no /dev/kvm, and this processor shows no virtualization: ${EMULATED}`, hint)
}

function unusable(host: Host, { gid, mode }: { gid: number; mode: number }, error: unknown): Finding {
  if (errorCode(error) !== "EACCES" && errorCode(error) !== "EPERM") {
    return warn(`/dev/kvm cannot be opened: ${messageOf(error)}: ${EMULATED}`, "modprobe kvm_intel || modprobe kvm_amd")
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
  return warn(`/dev/kvm (${who}) is not for ${user} to open: ${EMULATED}`, hint)
}
