import * as v from "valibot"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { readAll } from "../../base/linux/content.ts"
import { ignoring, unlessAbsent } from "../../base/linux/errors.ts"
import { openAt, openBeneath, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { formatSize } from "../../base/terms/quantity.ts"
import { type CgroupSetting, controllersOf, enableControllers, write } from "./cgroup.ts"
import { CPU_PERIOD_US } from "./limits.ts"

/** A running VM's cgroup. */
export interface RunningCgroup {
  /** The VM's name, for messages. */
  readonly name: string
  readonly id: string
  /** Where cgroup v2 is mounted. */
  readonly mount: string
  /** The cgroup itself (O_PATH). */
  readonly dir: number
}

/** Uses the cgroup of a VM that runs. Throws WRONG_STATE when it has gone. */
export function withRunningCgroup<T>(
  { name, id, path }: { name: string; id: string; path: string },
  use: (dir: number) => T,
): T {
  const dir = unlessAbsent(() => openAt(AT_FDCWD, path, O.PATH | O_DIRECTORY | O_NOFOLLOW))
  if (dir === undefined)
    throw new Failure("WRONG_STATE", `the cgroup of ${name} has gone`, { hint: GONE_HINT, subject: id })
  return withDescriptor(dir, use)
}

/**
 * Makes room for a lower memory limit, and throws a failure unless what the cgroup holds fits below it: the kernel would kill
 * the VMM for the rest. What the kernel only keeps in memory for later is given back first (memory.reclaim, Linux 5.19).
 * `anonymousBytes`: the VMM's own memory, all of which must be counted in the cgroup.
 */
export function requireRoom(
  { name, id, dir }: RunningCgroup,
  bytes: number,
  { anonymousBytes }: { readonly anonymousBytes: number },
): void {
  const word = `limits.memory=${formatSize(bytes)}`
  const used = () => Number(read(dir, "memory.current") ?? Number.NaN)
  // Memory is counted where its controller was on when it was taken. The kernel counts in portions of some pages.
  if (!(used() >= anonymousBytes - COUNTING_SLACK_BYTES)) {
    const hint = "limits.memory in the plugin, however large, has it counted from the start"
    throw new Failure("UNSUPPORTED", `${word}: the memory that ${name} has is not counted in its cgroup`, {
      hint,
      subject: id,
    })
  }
  // EAGAIN: not all could be given back.
  if (used() > bytes)
    ignoring(["EAGAIN", "ENOENT", "EINTR"], () => write(dir, "memory.reclaim", String(used() - bytes)))
  const now = used()
  if (now <= bytes) return
  const hint = `it can have ${formatSize(now)} or more; in less the kernel would kill it`
  throw new Failure("IN_USE", `${word}: ${name} uses ${formatSize(now)}`, { hint, subject: "limits.memory" })
}

/** Throws a failure when a cgroup has more threads than it is to have: the VMM may end when it can start none. */
export function requireThreads({ name, dir }: RunningCgroup, count: number): void {
  const threads = (read(dir, "cgroup.threads") ?? "").split("\n").filter((line) => line !== "").length
  if (threads <= count) return
  throw new Failure("IN_USE", `limits.pids=${count}: ${name} has ${threads} threads and processes`, {
    hint: `it can have ${threads} or more`,
    subject: "limits.pids",
  })
}

/**
 * Writes other limits to a running VM's cgroup, by its descriptor. Their controllers are switched on first, for all VMs.
 * Throws a failure that names the limit when the kernel refuses one; then all are as they were.
 */
export function changeLimits({ mount, dir }: RunningCgroup, settings: readonly CgroupSetting[]): void {
  const missing = settings.filter(([file]) => read(dir, file) === undefined)
  if (missing.length > 0) switchOn(mount, controllersOf(missing))
  const done: CgroupSetting[] = []
  for (const [file, value] of settings) {
    const before = asNow(read(dir, file) ?? "", value)
    try {
      write(dir, file, value)
      done.push([file, before])
    } catch (error) {
      for (const [old, text] of done.toReversed()) write(dir, old, text)
      const message = `limits: the kernel does not take ${file} ${value}`
      throw new Failure("HOST_LACKS", message, { subject: file, cause: error })
    }
  }
}

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

// --- internal ---

const GONE_HINT = "the VM has ended, or is ending: banger ps -a tells"
const COUNTING_SLACK_BYTES = 1024 * 1024
const FILE_MAX_BYTES = 64 * 1024

function switchOn(mount: string, controllers: readonly string[]): void {
  try {
    enableControllers(mount, controllers)
  } catch (error) {
    const message = `limits: ${controllers.join(", ")} cannot be switched on for VMs in ${mount}: ${messageOf(error)}`
    const hint = "in a container: move its processes out of the mount's root, or set the limits in the plugin"
    throw new Failure("HOST_LACKS", message, { hint, subject: "limits", cause: error })
  }
}

/** The text of a file of a cgroup; undefined when its controller is off. */
function read(dir: number, file: string): string | undefined {
  const open = () => openBeneath(dir, file, O.RDONLY)
  return unlessAbsent(() =>
    new TextDecoder().decode(withDescriptor(open(), (fd) => readAll(fd, FILE_MAX_BYTES))).trim(),
  )
}

/** What is to be written to have a file as it is now; of io.max, for the device of this value. */
function asNow(text: string, value: string): string {
  const [device = ""] = value.split(" ")
  if (!device.includes(":")) return text
  return (
    text.split("\n").find((line) => line.startsWith(`${device} `)) ?? `${device} rbps=max wbps=max riops=max wiops=max`
  )
}

function numberOf(text: string | undefined): number | null {
  const value = Number(text ?? Number.NaN)
  return Number.isFinite(value) && text !== "" ? value : null
}
