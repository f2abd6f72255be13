import * as v from "valibot"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { readAll } from "../../base/linux/content.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { openAt, openBeneath, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { CPU_PERIOD_US } from "./limits.ts"

/** What a cgroup allows now; null: as much as there is. */
export const presentLimitsSchema = v.strictObject({
  memoryBytes: v.nullable(v.number()),
  /** What of it is used now; null: it is not counted. */
  memoryUsedBytes: v.nullable(v.number()),
  cpus: v.nullable(v.number()),
  pids: v.nullable(v.number()),
  io: v.array(
    v.strictObject({
      /** `major:minor`. */
      device: v.string(),
      readBytes: v.nullable(v.number()),
      writeBytes: v.nullable(v.number()),
      readOps: v.nullable(v.number()),
      writeOps: v.nullable(v.number()),
    }),
  ),
})
export type PresentLimits = v.InferOutput<typeof presentLimitsSchema>

/** The limits of the cgroup at a path; undefined when there is none. */
export function limitsAt(path: string): PresentLimits | undefined {
  const open = () => openAt(AT_FDCWD, path, O.PATH | O_DIRECTORY | O_NOFOLLOW)
  return unlessAbsent(() => withDescriptor(open(), limitsOf), ["ENOENT", "ENODEV"])
}

/** The limits of an open cgroup. */
export function limitsOf(dir: number): PresentLimits {
  const number = (file: string) => numberOf(read(dir, file))
  const [quota, period = String(CPU_PERIOD_US)] = (read(dir, "cpu.max") ?? "max").split(" ")
  const time = numberOf(quota)
  return {
    ...{ memoryBytes: number("memory.max"), memoryUsedBytes: number("memory.current") },
    cpus: time === null ? null : time / Number(period),
    pids: number("pids.max"),
    io: parseIoMax(read(dir, "io.max") ?? ""),
  }
}

/** The lines of io.max (cgroup-v2.rst). Pure. */
export function parseIoMax(text: string): PresentLimits["io"] {
  return text
    .split("\n")
    .filter((line) => line.includes("="))
    .map((line) => {
      const [device = "", ...words] = line.split(" ")
      const of = Object.fromEntries(words.map((word) => word.split("=")))
      const [readBytes, writeBytes] = [numberOf(of.rbps), numberOf(of.wbps)]
      return { device, readBytes, writeBytes, readOps: numberOf(of.riops), writeOps: numberOf(of.wiops) }
    })
}

/** What the kernel says of the files of a cgroup that was removed while it was open. */
export const GONE = ["ENOENT", "ENODEV"]

/** The text of a file of a cgroup; undefined when its controller is off, or the cgroup has gone. */
export function read(dir: number, file: string): string | undefined {
  const open = () => openBeneath(dir, file, O.RDONLY)
  return unlessAbsent(
    () => new TextDecoder().decode(withDescriptor(open(), (fd) => readAll(fd, FILE_MAX_BYTES))).trim(),
    GONE,
  )
}

/** The number in a file of a cgroup; null for `max`, or none. Pure. */
export function numberOf(text: string | undefined): number | null {
  const value = Number(text ?? Number.NaN)
  return Number.isFinite(value) && text !== "" ? value : null
}

// --- internal ---

const FILE_MAX_BYTES = 64 * 1024
