import { formatSize, parseSize } from "../../base/terms/quantity.ts"
import { type Finding, ok, unknown, warn } from "./finding.ts"
import type { Host } from "./host.ts"

// What Firecracker's guide for production hosts asks of a host (docs/prod-host-setup.md), and what banger adds to it.

/** Protections of sticky directories, which /tmp is. */
export function checkSysctls(host: Host): Finding {
  const names = ["protected_symlinks", "protected_hardlinks", "protected_fifos", "protected_regular"]
  const values = names.map((name) => [name, host.read(`/proc/sys/fs/${name}`)?.trim()] as const)
  const off = values.filter(([, value]) => value === "0").map(([name]) => name)
  const missing = values.filter(([, value]) => value === undefined).map(([name]) => name)
  if (off.length > 0) {
    const hint = `sysctl -w ${off.map((name) => `fs.${name}=1`).join(" ")}, and in a file of /etc/sysctl.d to keep it`
    return warn(`fs.${off.join(", fs.")} is 0: other users' links and files in /tmp can trap root's programs`, hint)
  }
  if (missing.length > 0) return unknown(`/proc/sys/fs has no ${missing.join(", ")}`)
  return ok("links, FIFOs and files in sticky directories are protected")
}

/** Whether a guest's memory can come to lie on a disk. */
export function checkSwap(host: Host): Finding {
  const lines = host.read("/proc/swaps")?.trim().split("\n").slice(1) ?? []
  // zram keeps what is swapped in memory.
  const disks = lines.map((line) => line.split(/\s/)[0] ?? "").filter((name) => !name.startsWith("/dev/zram"))
  if (disks.length === 0) return ok("no guest's memory is swapped to a disk")
  const hint = "swapoff -a, and its lines out of /etc/fstab; or encrypt it"
  return warn(`swap is on (${disks.join(", ")}): what guests have in memory can stay on that disk`, hint)
}

/** Whether equal pages of guests are merged, which lets one guess what another has. */
export function checkKsm(host: Host): Finding {
  if ((host.read("/sys/kernel/mm/ksm/run")?.trim() ?? "0") === "0") return ok("equal pages of guests are not merged")
  return warn("KSM merges equal pages of guests: one can find out what another has", "echo 2 > /sys/kernel/mm/ksm/run")
}

/** Whether two guests can share a processor core. */
export function checkSmt(host: Host): Finding {
  if (host.read("/sys/devices/system/cpu/smt/active")?.trim() !== "1") return ok("no two guests share a core")
  const hint = "where guests do not trust each other: echo off > /sys/devices/system/cpu/smt/control"
  return warn("SMT is on: guests on the two threads of a core can spy on each other", hint)
}

/** Whether the processor's faults are dealt with. */
export function checkVulnerabilities(host: Host): Finding {
  const base = "/sys/devices/system/cpu/vulnerabilities"
  const names = host.list(base)
  if (names === undefined) return unknown(`there is no ${base}`)
  const open = names.filter((name) => host.read(`${base}/${name}`)?.includes("Vulnerable"))
  if (open.length === 0) return ok("the kernel deals with the processor's known faults")
  const hint = "install the newest kernel and microcode (intel-microcode, amd64-microcode), without mitigations=off"
  return warn(`the processor is vulnerable to ${open.join(", ")}`, hint)
}

/** Whether a guest can fill the kernel's log, or slow the host by a fast timer. */
export function checkKvmSettings(host: Host): Finding {
  const period = Number(host.read("/sys/module/kvm/parameters/min_timer_period_us")?.trim() ?? Number.NaN)
  if (period < 100) {
    const hint = "echo 500 > /sys/module/kvm/parameters/min_timer_period_us"
    return warn(`KVM lets guests have timers of ${period} us, and each costs this host time`, hint)
  }
  const slow = host.read("/sys/module/kvm/parameters/nx_huge_pages")?.trim() === "Y"
  const needed = !host.read("/sys/devices/system/cpu/vulnerabilities/itlb_multihit")?.startsWith("Not affected")
  if (slow && !needed) {
    const hint = "echo never > /sys/module/kvm/parameters/nx_huge_pages"
    return warn("KVM guards huge pages against a fault that this processor does not have: VMs start slower", hint)
  }
  return ok("KVM's settings suit")
}

/** Whether what guests make the kernel say goes to a slow console. */
export function checkConsole(host: Host): Finding {
  const text = host.read("/proc/cmdline")
  if (text === undefined) return unknown("there is no /proc/cmdline")
  const level = Number(/^(\d+)/.exec(host.read("/proc/sys/kernel/printk") ?? "")?.[1] ?? Number.NaN)
  if (level <= 4 || /\bquiet\b/.test(text)) return ok("the kernel's console is quiet")
  return warn(
    `the kernel prints all but debugging on its console (level ${level}): VMs can slow the host by it`,
    "sysctl -w kernel.printk=4, or boot with: quiet loglevel=1",
  )
}

/** Whether there is memory for a guest. */
export function checkMemory(host: Host): Finding {
  const [, kib] = /^MemAvailable:\s+(\d+) kB$/m.exec(host.read("/proc/meminfo") ?? "") ?? []
  const bytes = parseSize(`${kib}K`)
  if (bytes === undefined) return unknown("/proc/meminfo does not tell what is available")
  const says = `${formatSize(bytes)} of memory can be used`
  return bytes < 512 * 1024 ** 2 ? warn(says, "end something that uses much: ps aux --sort=-rss | head") : ok(says)
}

/** Whether there are so many mounts that each jail is slow to make. */
export function checkMounts(host: Host): Finding {
  const count = (host.read("/proc/self/mountinfo") ?? "").trim().split("\n").length
  if (count < 500) return ok(`${count} mounts`)
  return warn(
    `${count} mounts: each jail takes longer to make for each of them`,
    "findmnt, and umount what is not needed",
  )
}
