import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { ignoring, unlessAbsent } from "../../base/linux/errors.ts"
import { close, openAt } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { formatExactSize, formatSize } from "../../base/terms/quantity.ts"
import { type CgroupSetting, controllersOf, enableControllers, write } from "./cgroup.ts"
import { GONE, numberOf, read } from "./present.ts"

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

/** Opens the cgroup of a VM that runs; the caller closes it. Throws WRONG_STATE when it has gone. */
export function openRunningCgroup({
  path,
  ...of
}: Omit<RunningCgroup, "dir"> & { readonly path: string }): RunningCgroup & Disposable {
  const dir = unlessAbsent(() => openAt(AT_FDCWD, path, O.PATH | O_DIRECTORY | O_NOFOLLOW))
  if (dir === undefined) throw gone(of)
  return { ...of, dir, [Symbol.dispose]: () => close(dir) }
}

/**
 * Throws a failure unless what a cgroup holds, but for what the kernel only keeps in memory for later, fits below a lower memory
 * limit: the kernel would kill the VMM for the rest. Changes nothing. `ownBytes`: the VMM's own memory, all of which must be
 * counted in the cgroup.
 */
export function requireMemory(cgroup: RunningCgroup, bytes: number, { ownBytes }: { readonly ownBytes: number }): void {
  requireThere(cgroup)
  const { name, id, dir } = cgroup
  const used = usedBytes(dir)
  // Memory is counted where its controller was on when it was taken: a limit proves that it was. The kernel counts in portions
  // of some pages.
  if (Number.isNaN(used) || (numberOf(read(dir, "memory.max")) === null && used < ownBytes - COUNTING_SLACK_BYTES)) {
    const message = `limits.memory=${formatExactSize(bytes)}: the memory that ${name} has is not counted in its cgroup`
    const hint = "limits.memory in the plugin, however large, has it counted from the start"
    throw new Failure("UNSUPPORTED", message, { hint, subject: id })
  }
  const stat = read(dir, "memory.stat") ?? ""
  const kept = ["inactive_file", "active_file", "slab_reclaimable"].map((name) =>
    Number(new RegExp(`^${name} (\\d+)$`, "m").exec(stat)?.[1] ?? 0),
  )
  const needed = used - kept.reduce((sum, each) => sum + each, 0)
  if (needed > bytes) throw usesMore(cgroup, bytes, needed)
}

/**
 * Has the kernel give back what it only keeps in memory for later (memory.reclaim, Linux 5.19), as far as a lower memory limit
 * needs it. Throws a failure when that is not enough.
 */
export function makeRoom(cgroup: RunningCgroup, bytes: number): void {
  const { dir } = cgroup
  const excess = usedBytes(dir) - bytes
  // EAGAIN: not all could be given back.
  if (excess > 0) ignoring(["EAGAIN", "EINTR", ...GONE], () => write(dir, "memory.reclaim", String(excess)))
  const now = usedBytes(dir)
  if (now > bytes) throw usesMore(cgroup, bytes, now)
}

/**
 * Throws a failure when a cgroup has more threads than it is to have, or fewer than `spare` less: the VMM may end when it can start
 * none.
 */
export function requireThreads(
  cgroup: RunningCgroup,
  count: number,
  { spare = 0 }: { readonly spare?: number | undefined } = {},
): void {
  requireThere(cgroup)
  const { name, dir } = cgroup
  const threads = (read(dir, "cgroup.threads") ?? "").split("\n").filter((line) => line !== "").length
  const needed = threads + spare
  if (needed <= count) return
  const more = spare === 0 ? "" : `, and its VMM starts up to ${spare} more when its drives are busy, or ends`
  throw new Failure("IN_USE", `limits.pids=${count}: ${name} has ${threads} threads and processes${more}`, {
    hint: `it can have ${needed} or more`,
    subject: "limits.pids",
  })
}

/**
 * Writes other limits to a running VM's cgroup, by its descriptor. Controllers that they need are switched on first, for all VMs;
 * what lifts a limit needs none. Throws a failure that names the limit when the kernel refuses one; then all are as they were.
 * Returns what puts them back, which throws nothing and tells which files could not be.
 */
export function changeLimits(cgroup: RunningCgroup, settings: readonly CgroupSetting[]): () => readonly string[] {
  requireThere(cgroup)
  const { mount, dir } = cgroup
  const isOn = ([file]: CgroupSetting) => read(dir, file) !== undefined
  const wanted = settings.filter((setting) => isOn(setting) || !lifts(setting))
  const missing = wanted.filter((setting) => !isOn(setting))
  if (missing.length > 0) switchOn(mount, controllersOf(missing))
  const done: CgroupSetting[] = []
  const putBack = () => done.toReversed().flatMap(([file, text]) => (wasWritten(dir, file, text) ? [] : [file]))
  for (const [file, value] of wanted) {
    const before = asNow(read(dir, file) ?? "", value)
    try {
      write(dir, file, value)
      done.push([file, before])
    } catch (error) {
      const left = putBack()
      requireThere(cgroup)
      const message = `limits: the kernel does not take ${file} ${value}${notPutBack(left)}`
      const hint = file === "io.max" ? "a whole disk takes one, a partition does not: lsblk" : KERNEL_HINT
      throw new Failure("HOST_LACKS", message, { hint, subject: file, cause: error })
    }
  }
  return putBack
}

/** What of a change that has failed could not be undone, for the end of its message. Pure. */
export function notPutBack(left: readonly string[]): string {
  return left.length === 0 ? "" : `; ${left.join(", ")} could not be put back`
}

/** Whether a setting only lifts a limit: that takes no controller. Pure. */
export function lifts([file, value]: CgroupSetting): boolean {
  return file === "io.max" ? value.split(" ").every((word, at) => at === 0 || word.endsWith("=max")) : value === "max"
}

// --- internal ---

const KERNEL_HINT = "what it takes is in the kernel's cgroup-v2.rst"
const MIB_BYTES = 1024 * 1024
const COUNTING_SLACK_BYTES = MIB_BYTES

function switchOn(mount: string, controllers: readonly string[]): void {
  try {
    enableControllers(mount, controllers)
  } catch (error) {
    const message = `limits: ${controllers.join(", ")} cannot be switched on for VMs in ${mount}: ${messageOf(error)}`
    const hint = "in a container: move its processes out of the mount's root, or set the limits in the plugin"
    throw new Failure("HOST_LACKS", message, { hint, subject: "limits", cause: error })
  }
}

function gone({ name, id }: Pick<RunningCgroup, "name" | "id">): Failure {
  const hint = "the VM has ended, or is ending: banger ps -a tells"
  return new Failure("WRONG_STATE", `the cgroup of ${name} has gone`, { hint, subject: id })
}

/** Every cgroup but the root has this file, whatever controllers are on. */
function requireThere(cgroup: RunningCgroup): void {
  if (read(cgroup.dir, "cgroup.events") === undefined) throw gone(cgroup)
}

function usesMore({ name }: RunningCgroup, bytes: number, used: number): Failure {
  const least = formatExactSize(Math.ceil(used / MIB_BYTES) * MIB_BYTES)
  const hint = `it can have ${least} or more; in less the kernel would kill it`
  return new Failure("IN_USE", `limits.memory=${formatExactSize(bytes)}: ${name} uses ${formatSize(used)}`, {
    hint,
    subject: "limits.memory",
  })
}

function usedBytes(dir: number): number {
  return Number(read(dir, "memory.current") || Number.NaN)
}

function wasWritten(dir: number, file: string, text: string): boolean {
  try {
    write(dir, file, text)
    return true
  } catch {
    return false
  }
}

/** What is to be written to have a file as it is now; of io.max, for the device of this value. */
function asNow(text: string, value: string): string {
  const [device = ""] = value.split(" ")
  if (!device.includes(":")) return text
  return (
    text.split("\n").find((line) => line.startsWith(`${device} `)) ?? `${device} rbps=max wbps=max riops=max wiops=max`
  )
}
