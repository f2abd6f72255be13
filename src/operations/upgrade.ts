import { readFileSync, realpathSync } from "node:fs"
import { basename } from "node:path"
import { unlessAbsent } from "../base/linux/errors.ts"
import { inodeOf, statPath, unlinkAt } from "../base/linux/files.ts"
import { AT_FDCWD } from "../base/linux/guards.ts"
import { Failure } from "../base/terms/failure.ts"
import type { Log } from "../base/terms/log.ts"
import { formatDuration } from "../base/terms/quantity.ts"
import { parentOf } from "../host/process/ancestors.ts"
import type { PidRef } from "../host/process/pidRef.ts"
import { selfArgv } from "../host/process/self.ts"
import type { State } from "../store/state/open.ts"
import { type VmLayout, vmLayout } from "../store/state/places.ts"
import { findRecord, getRecord } from "../store/state/records.ts"
import { isFinal } from "../store/state/vmState.ts"
import { writeHandover } from "../supervisor/rest/handover.ts"
import { ASKING } from "../supervisor/rest/signals.ts"
import { unpackRest } from "../supervisor/rest/words.ts"
import { lockHolder } from "../vm/lock.ts"
import { statusOf } from "../vm/status.ts"
import { type DetachedVm, detach } from "./detach.ts"

/** What became of a VM's supervisor. */
export type Upgraded = {
  readonly vm: DetachedVm
  /** It became this program; it was this program already; another took its place; there was none. */
  readonly how: "handed over" | "current" | "replaced" | "supervised"
}

/**
 * Hands a VM to this banger: its supervisor, which rests, becomes this program, with all that it holds: the VM's lock, and the VMM as
 * its child. Where a supervisor has itself found a VM that ran, another takes its place; where there is none, one is started.
 * Throws WRONG_STATE, with nothing changed, for a supervisor that is awake or runs in the foreground.
 */
export async function upgradeSupervisor(
  state: State,
  reference: string,
  { log, say }: { readonly log: Log; readonly say: (line: string) => void },
): Promise<Upgraded | number> {
  const { id, name, vmm } = findRecord(state.db, reference)
  const layout = vmLayout(state.where, id)
  const vm = () => {
    const { pid } = statusOf(state, getRecord(state.db, id))
    return { id, name, vmm, dir: layout.dir, ...(pid !== undefined && { pid }) }
  }
  for (const deadline = performance.now() + REST_WAIT_MS; ; await Bun.sleep(LOOK_MS)) {
    if (isFinal(getRecord(state.db, id).state))
      throw new Failure("WRONG_STATE", `${name} (${id}) has ended`, { subject: id })
    using holder = lockHolder(layout)
    if (holder.is === "free") return started(await detach("__supervise", [id], say), "supervised")
    if (holder.is === "held" && holder.doing === "supervise") {
      const { process } = holder
      const role = roleOf(process.pid)
      if (isThisProgram(process.pid) && role !== undefined) return { vm: vm(), how: "current" }
      if (role === "__rest") {
        await handOver(layout, process)
        log.debug(`the supervisor of ${name} is process ${process.pid} still, and this program now`)
        return { vm: vm(), how: "handed over" }
      }
      if (role !== undefined && getRecord(state.db, id).state === "running" && isForeign(vm().pid, process.pid)) {
        // It is the parent of nothing, and only waits: the next one knows as much as it does.
        process.kill(KILL_WAIT_MS)
        return started(await detach("__supervise", [id], say), "replaced")
      }
      if (role === undefined) throw inForeground(name, process.pid)
      if (performance.now() >= deadline) throw awake(name, process.pid)
    } else if (performance.now() >= deadline)
      throw new Failure("BUSY", `another banger acts on ${name} (${id})`, { subject: id })
  }
}

// --- internal ---

/** A supervisor that has just booted its VM begins to rest within this time, in milliseconds. */
const REST_WAIT_MS = 5000

/** Another program takes this long, in milliseconds, to begin. */
const HANDOVER_WAIT_MS = 5000

const KILL_WAIT_MS = 5000
const LOOK_MS = 20

/** The hidden commands that are supervisors in the background. */
const ROLES = ["__rest", "__wake", "__run", "__supervise"] as const

function started(vm: DetachedVm | number, how: Upgraded["how"]): Upgraded | number {
  return typeof vm === "number" ? vm : { vm, how }
}

/**
 * What a process of banger's does in the background; undefined for one in the foreground, whatever its plugin's own words are. A
 * binary has its command first, Bun behind the name of its file.
 */
function roleOf(pid: number): (typeof ROLES)[number] | undefined {
  const [, first = "", second] = commandLine(pid)
  const command = basename(first) === "cli.ts" ? second : first
  return ROLES.find((role) => role === command)
}

/** Whether a VMM was started by another process than the supervisor that watches it now. */
function isForeign(vmm: number | undefined, supervisor: number): boolean {
  const parent = vmm === undefined ? undefined : parentOf(vmm)
  return parent !== undefined && parent !== supervisor
}

function commandLine(pid: number): readonly string[] {
  return unlessAbsent(() => readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0"), ["ENOENT", "ESRCH"]) ?? []
}

/** Whether a process runs this very program. */
function isThisProgram(pid: number): boolean {
  const fileOf = (who: string) => unlessAbsent(() => inodeOf(statPath(`/proc/${who}/exe`)), ["ENOENT", "ESRCH"])
  const words = commandLine(pid)
  return (
    fileOf(String(pid)) === fileOf("self") &&
    selfArgv()
      .slice(1)
      .every((word) => words.includes(word))
  )
}

/** Resolves when the process is this program, at rest. */
async function handOver(layout: VmLayout, supervisor: PidRef): Promise<void> {
  const { pid } = supervisor
  const words = commandLine(pid)
  const rest = unpackRest(words.slice(words.indexOf("__rest") + 1, -1))
  const stays = { subject: layout.id, hint: `it goes on as it is; to start it anew: banger restart ${layout.id}` }
  if (rest?.id !== layout.id) {
    const message = `the supervisor of ${layout.id}, process ${pid}, is of a banger that this one does not understand`
    throw new Failure("UNSUPPORTED", message, stays)
  }
  const [program = "", ...own] = selfArgv()
  writeHandover(layout, [realpathSync(program), ...own])
  supervisor.signal(ASKING)
  const deadline = performance.now() + HANDOVER_WAIT_MS
  const done = () => isThisProgram(pid) && roleOf(pid) === "__rest" && !isAsked(layout)
  while (!done() && performance.now() < deadline && !supervisor.hasExited()) await Bun.sleep(LOOK_MS)
  if (done()) return
  unlessAbsent(() => unlinkAt(AT_FDCWD, layout.handover))
  const message = `the supervisor of ${layout.id}, process ${pid}, did not become this program in ${formatDuration(HANDOVER_WAIT_MS)}`
  throw new Failure("TIMED_OUT", message, stays)
}

function isAsked({ handover }: VmLayout): boolean {
  return unlessAbsent(() => statPath(handover)) !== undefined
}

function awake(name: string, pid: number): Failure {
  const hint = `try again when it rests; or end what keeps it, or boot the VM anew: banger restart ${name}`
  const what = "a hook runs, or its plugin keeps something there (a timer, a server, a variable)"
  return new Failure("WRONG_STATE", `the supervisor of ${name}, process ${pid}, is awake: ${what}`, {
    hint,
    subject: name,
  })
}

function inForeground(name: string, pid: number): Failure {
  const hint = `under systemd: systemctl restart; else: kill -9 ${pid}, then banger run as before, which goes on with the VM`
  const message = `the supervisor of ${name}, process ${pid}, runs in the foreground, and cannot become another program there`
  return new Failure("WRONG_STATE", message, { hint, subject: name })
}
