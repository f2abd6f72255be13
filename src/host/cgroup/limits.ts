import { O, S } from "../../base/linux/constants.ts"
import { isType, openNamed, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { CgroupSetting } from "./cgroup.ts"

/** What a VM may use of the host; sizes in bytes, rates per second. null: as much as there is. */
export interface Limits {
  readonly memory?: number | null | undefined
  readonly cpus?: number | null | undefined
  readonly pids?: number | null | undefined
  readonly io?: readonly IoLimit[] | undefined
}

/** Limits on one block device, by its number `major:minor`. */
export interface IoLimit {
  readonly device: string
  readonly readBytes?: number | null | undefined
  readonly writeBytes?: number | null | undefined
  readonly readOps?: number | null | undefined
  readonly writeOps?: number | null | undefined
}

/** The period that cpu.max counts in, in microseconds. */
export const CPU_PERIOD_US = 100_000

/** What to write to the files of a VM's cgroup (cgroup-v2.rst: memory.max, cpu.max, pids.max, io.max). Pure. */
export function cgroupSettings({ memory, cpus, pids, io = [] }: Limits): readonly CgroupSetting[] {
  return [
    ...setting("memory.max", memory),
    ...setting("cpu.max", cpus && `${Math.round(cpus * CPU_PERIOD_US)} ${CPU_PERIOD_US}`),
    ...setting("pids.max", pids),
    ...io.map((limit): CgroupSetting => ["io.max", ioMax(limit)]),
  ]
}

/** The number `major:minor` of a block device. Throws a failure for anything else. */
export function deviceNumber(device: string): string {
  return withDescriptor(openNamed(device, O.PATH), (fd) => {
    const stat = statDescriptor(fd)
    if (!isType(stat, S.IFBLK))
      throw new Failure("BAD_FILE", `limits.io: ${device} is not a block device`, { subject: device })
    return stat.rdev
  })
}

// --- internal ---

function setting(file: string, value: number | string | null | undefined): readonly CgroupSetting[] {
  return value === undefined ? [] : [[file, String(value ?? "max")]]
}

function ioMax({ device, readBytes, writeBytes, readOps, writeOps }: IoLimit): string {
  const words = Object.entries({ rbps: readBytes, wbps: writeBytes, riops: readOps, wiops: writeOps })
  return [
    device,
    ...words.filter(([, value]) => value !== undefined).map(([key, value]) => `${key}=${value ?? "max"}`),
  ].join(" ")
}
