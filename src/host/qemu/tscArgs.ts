import { hasParameter } from "../../base/linux/commandLine.ts"

/**
 * The word that tells a guest's kernel the rate of its time stamp counter, which under QEMU's emulation is the host's. A
 * kernel that is not told measures the counter against an emulated timer. On a busy host that fails, and a microvm, which
 * has no other clock (no HPET, no PM timer), hangs before it prints anything. Empty when the command line has the word
 * already, or when the host's counter has no constant rate. Pure.
 */
export function tscArgs(given: string, cpuinfo: string): readonly string[] {
  if (hasParameter(given, "tsc_early_khz") || !/^flags\s*:.*\bconstant_tsc\b/m.test(cpuinfo)) return []
  // loops_per_jiffy is derived from the counter's rate: bogomips is twice the rate in MHz.
  const bogomips = Number(/^bogomips\s*:\s*(\d+(?:\.\d+)?)/m.exec(cpuinfo)?.[1])
  return bogomips > 0 ? [`tsc_early_khz=${Math.round(bogomips * 500)}`] : []
}
