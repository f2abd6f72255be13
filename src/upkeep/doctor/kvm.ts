import { cpuFlags, judgeDevice, judgeGuests } from "../../host/kvm/judge.ts"
import { type Finding, fail, ok, unknown, warn } from "./finding.ts"
import type { Host } from "./host.ts"

/** Whether this user can use KVM, and whether it has what Firecracker needs. */
export function checkKvm(host: Host): Finding {
  const judged = judgeDevice(host, "firecracker")
  if (judged.is === "usable") return ok("/dev/kvm can be used, and has what Firecracker needs")
  if (judged.is === "unknown") return unknown(judged.words)
  const { words, hint, broken } = judged
  if (broken === true) return fail(words, hint ?? 'use vmm: "qemu"')
  return warn(`${words}: guests run emulated, by QEMU, and slowly`, hint)
}

/** Whether guests with a stock kernel boot by this KVM: one is tried. */
export async function checkGuests(host: Host): Promise<Finding> {
  const device = judgeDevice(host, "qemu")
  if (device.is !== "usable") return unknown(`no guest can be tried by KVM: ${"words" in device ? device.words : ""}`)
  const judged = await judgeGuests(host)
  if (judged.is === "unknown") return unknown(judged.words)
  if (judged.is === "unusable") {
    const pvm = host.list("/sys/module/kvm_pvm") !== undefined ? " (it is PVM, for kernels made for it)" : ""
    return warn(`${judged.words}${pvm}`, 'QEMU emulates; a guest made for it boots with vmm: "firecracker"')
  }
  if (cpuFlags(host).has("hypervisor")) return warn("this host is itself a VM: guests run by KVM, but slower")
  const ept = host.read("/sys/module/kvm_intel/parameters/ept")?.trim()
  if (ept !== undefined && ept !== "Y")
    return warn(`kvm_intel has ept=${ept}: guests are slow`, "modprobe -r kvm_intel && modprobe kvm_intel ept=1")
  return ok(host.arch === "x64" ? "a guest runs by KVM here" : "guests run by KVM here, as far as can be told")
}
