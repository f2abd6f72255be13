import type { CgroupSetting } from "./cgroup.ts"

/** What a VM may use of the host; sizes in bytes, rates per second. */
export interface Limits {
  readonly memory?: number | undefined
  readonly cpus?: number | undefined
  readonly pids?: number | undefined
  readonly io?: readonly IoLimit[] | undefined
}

/** Limits on one block device, by its number `major:minor`. */
export interface IoLimit {
  readonly device: string
  readonly readBytes?: number | undefined
  readonly writeBytes?: number | undefined
  readonly readOps?: number | undefined
  readonly writeOps?: number | undefined
}

/** The period that cpu.max counts in, in microseconds. */
const CPU_PERIOD_US = 100_000

/** What to write to the files of a VM's cgroup (cgroup-v2.rst: memory.max, cpu.max, pids.max, io.max). Pure. */
export function cgroupSettings({ memory, cpus, pids, io = [] }: Limits): readonly CgroupSetting[] {
  return [
    ...setting("memory.max", memory),
    ...setting("cpu.max", cpus === undefined ? undefined : `${Math.round(cpus * CPU_PERIOD_US)} ${CPU_PERIOD_US}`),
    ...setting("pids.max", pids),
    ...io.map((limit): CgroupSetting => ["io.max", ioMax(limit)]),
  ]
}

// --- internal ---

function setting(file: string, value: number | string | undefined): readonly CgroupSetting[] {
  return value === undefined ? [] : [[file, String(value)]]
}

function ioMax({ device, readBytes, writeBytes, readOps, writeOps }: IoLimit): string {
  const words = Object.entries({ rbps: readBytes, wbps: writeBytes, riops: readOps, wiops: writeOps })
  return [device, ...words.filter(([, value]) => value !== undefined).map(([key, value]) => `${key}=${value}`)].join(
    " ",
  )
}
