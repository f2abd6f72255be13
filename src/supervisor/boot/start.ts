import { writeFileSync } from "node:fs"
import { errorCode } from "../../base/linux/errors.ts"
import { close, mkfifoAt } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { listenUnix } from "../../base/linux/sockets.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import { type CgroupSetting, cgroupPath, joinCgroup, makeCgroup } from "../../host/cgroup/cgroup.ts"
import { type Child, type Launch, SIGKILL, spawn } from "../../host/process/spawn.ts"
import type { Control, Program, Vmm } from "../../host/vmm/vmm.ts"
import { type Follower, follow } from "../../store/logs/boundedFile.ts"
import type { Sink } from "../../store/logs/growing.ts"
import { markOf } from "../../store/state/mark.ts"
import { type Machine, VMM_LOG_MAX_BYTES } from "../../vm/machine.ts"
import type { Session } from "../../vm/session.ts"
import type { Staged } from "./stage.ts"
import { endedAtOnce } from "./startFailure.ts"
import { closeVsock, ownSocket } from "./vmmSockets.ts"

/** How long to wait, in milliseconds, before offering the console's last bytes again to a reader that is behind. */
const SLOW_READER_WAIT_MS = 20

/** How long, in milliseconds, an answer is waited for of a VMM that has ended. */
const LAST_ANSWER_MS = 100

/** How a machine is started. */
export interface StartOptions {
  readonly consoleLimit: number
  /** Milliseconds for the VMM to answer. */
  readonly limit: number
  /** Aborted when the start is not wanted any more. */
  readonly interrupt: AbortSignal
  readonly onConsole: Sink
  readonly log: Log
  /** The cgroup to make for it, where this host has them. */
  readonly cgroup: { readonly mount: string; readonly settings: readonly CgroupSetting[] } | undefined
}

/**
 * Starts the VMM with its console, log and control socket. The socket is made and listening before the VMM is, with
 * mode 0600 from birth, so that the connection to it neither waits nor polls. The process is on the journal before it
 * is there. Throws, with the process gone again, when it does not come up.
 */
export async function startMachine(
  session: Session,
  vmm: Vmm,
  program: Program,
  { boot, runsAs }: Staged,
  options: StartOptions,
): Promise<Machine> {
  const { layout, journal } = session
  const cgroup = options.cgroup && cgroupPath(options.cgroup.mount, session.id)
  journal.acquire(
    { kind: "process", identity: null },
    ...(cgroup === undefined ? [] : [{ kind: "cgroup", path: cgroup } as const]),
  )
  if (options.cgroup) {
    const { mount, settings } = options.cgroup
    makeCgroup(mount, session.id, settings, markOf(layout))
  }
  for (const file of [layout.consoleLog, layout.vmmLog]) writeFileSync(file, "", { mode: 0o600, flag: "wx" })
  mkfifoAt(AT_FDCWD, layout.consoleInput, 0o600)
  const place = { ...layout, cgroup: cgroup === undefined ? undefined : `banger/${session.id}` }
  const launch = vmm.launch(program, boot, place)
  const passed = launch.socket === "passed" ? [listenPrivately(launch.control)] : []
  const child = startChild(session, {
    argv: launch.argv,
    passed,
    runsAs,
    netns: boot.network ? boot.network.netns : undefined,
  })
  const followers: Follower[] = []
  const late = new AbortController()
  let shown: Control["onConsole"]
  // Held, it would keep the jail's mount busy when the VMM has gone.
  let socket: number | undefined
  const letGo = () => {
    if (socket !== undefined) close(socket)
    socket = undefined
  }
  const sink: Sink = (chunk) => {
    const taken = options.onConsole(chunk)
    shown?.(chunk.subarray(0, taken))
    return taken
  }
  try {
    if (cgroup !== undefined) join(cgroup, child)
    journal.refine({ kind: "process", identity: child.identity })
    const warn = (path: string) => (what: string) => options.log.warn(`${path}: ${what}`)
    const console = follow(layout.consoleLog, { limit: options.consoleLimit, sink, onTrouble: warn(layout.consoleLog) })
    followers.push(console)
    const own = vmm.name === "firecracker" ? [layout.firecrackerLog] : []
    const metrics = boot.firecracker.metrics === true ? own.map(() => layout.firecrackerMetrics) : []
    for (const file of [layout.vmmLog, ...own, ...metrics])
      followers.push(follow(file, { limit: VMM_LOG_MAX_BYTES, onTrouble: warn(file) }))
    const connecting = async () => {
      if (launch.socket === "own") socket = await ownSocket(launch.control, boot, late.signal)
      if (late.signal.aborted) letGo()
      const path = socket === undefined ? launch.control : `/proc/self/fd/${socket}`
      const control = await vmm.connect(path, program, boot, place)
      shown = control.onConsole
      await control.ready
      if (boot.firecracker.vsock !== undefined && launch.socket === "own") closeVsock(launch.control, boot)
      return control
    }
    const control = await within(options, child, connecting())
    child.exited.then(letGo)
    return {
      child,
      control,
      gone: gone(child, control, followers, console),
      showRest: (enough) => showRest(console, enough),
    }
  } catch (error) {
    late.abort(error)
    letGo()
    for (const follower of followers) follower.close()
    // A VMM that dies drops its connection first; its own words say more than that.
    const died = await Promise.race([child.exited.then(() => true), Bun.sleep(200).then(() => false)])
    child.signal(SIGKILL)
    await child.exited
    const { confinement } = boot
    const copy = confinement && `${confinement.root}/${vmm.jailName(program)}`
    throw died ? endedAtOnce(layout, copy, error) : error
  }
}

// --- internal ---

function listenPrivately(path: string): number {
  const umask = process.umask(0o177)
  try {
    return listenUnix(path, 4)
  } finally {
    process.umask(umask)
  }
}

/** Before its guest runs, since that waits for us; a VMM that has ended is told of by its end. */
function join(cgroup: string, child: Child): void {
  try {
    joinCgroup(cgroup, child.identity.pid)
  } catch (error) {
    if (errorCode(error) !== "ESRCH") throw error
  }
}

function startChild(session: Session, launch: Pick<Launch, "argv" | "passed" | "runsAs" | "netns">): Child {
  const { consoleInput, consoleLog, vmmLog } = session.layout
  try {
    return spawn({ ...launch, stdin: consoleInput, stdout: consoleLog, stderr: vmmLog })
  } catch (error) {
    throw new Failure("FAILED", `${launch.argv[0]} cannot be started: ${messageOf(error)}`, { cause: error })
  }
}

async function gone(child: Child, control: Control, followers: readonly Follower[], console: Follower): Promise<void> {
  // What QEMU said last may still be on its way to us.
  await Promise.allSettled([child.exited, control.closed])
  for (const follower of followers) {
    follower.drain()
    follower.settle()
    // A supervisor may boot VM after VM: nothing of one stays open. The console may have to be shown yet.
    if (follower !== console) follower.close()
  }
}

async function showRest(console: Follower, enough: AbortSignal): Promise<boolean> {
  try {
    while (!console.drain()) {
      if (enough.aborted) return false
      await Bun.sleep(SLOW_READER_WAIT_MS)
    }
    return true
  } finally {
    console.close()
  }
}

/** Waits for `work` until the VMM ends, the time is up, or the start is interrupted. */
async function within<T>(options: StartOptions, child: Child, work: Promise<T>): Promise<T> {
  const { promise: cut, reject } = Promise.withResolvers<never>()
  const late = () => reject(new Failure("FAILED", `the VMM did not answer in ${formatDuration(options.limit)}`))
  const interrupted = () => reject(new Failure("FAILED", "the start was interrupted"))
  const timer = setTimeout(late, options.limit)
  options.interrupt.addEventListener("abort", interrupted, { once: true })
  if (options.interrupt.aborted) interrupted()
  try {
    // The last answer of a VMM whose guest ended at once may be on its way still.
    const ended = child.exited
      .then(() => Bun.sleep(LAST_ANSWER_MS))
      .then(() => Promise.reject(new Failure("FAILED", "the VMM ended")))
    return await Promise.race([work, ended, cut])
  } finally {
    clearTimeout(timer)
    options.interrupt.removeEventListener("abort", interrupted)
  }
}
