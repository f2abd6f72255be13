import { writeFileSync } from "node:fs"
import { errorCode } from "../../base/linux/errors.ts"
import { close, mkfifoAt } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { listenUnix } from "../../base/linux/sockets.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { type HostPath, hostPath } from "../../base/terms/path.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import { type CgroupSetting, cgroupPath, joinCgroup, makeCgroup, withCgroup } from "../../host/cgroup/cgroup.ts"
import { type Child, type Launch, SIGKILL, spawn } from "../../host/process/spawn.ts"
import type { Chosen, Control } from "../../host/vmm/vmm.ts"
import { type Follower, follow } from "../../store/logs/boundedFile.ts"
import type { Sink } from "../../store/logs/growing.ts"
import { openShown } from "../../store/logs/shown.ts"
import { showRest } from "../../store/logs/showRest.ts"
import { markOf } from "../../store/state/mark.ts"
import { type Machine, VMM_LOG_MAX_BYTES } from "../../vm/machine.ts"
import type { Session } from "../../vm/session.ts"
import type { Trace } from "../hooks/trace.ts"
import type { Staged } from "./stage.ts"
import { endedAtOnce } from "./startFailure.ts"
import { closeVsock, ownSocket } from "./vmmSockets.ts"

// The room boot: from a plugin to a VMM that runs. It prepares the spec, chooses the VMM, plans, stages and starts.
// The rule: all that can be refused is refused before anything is acquired, and all that is acquired is on the journal first.

/** How long to wait for the last answer of a VMM that has ended. */
const LAST_ANSWER_MS = 100

/** How a machine is started. */
export interface StartOptions extends Chosen {
  readonly consoleLimit: number
  /** Milliseconds for the VMM to answer. */
  readonly limit: number
  /** Aborted when the start is no longer wanted. */
  readonly interrupt: AbortSignal
  readonly onConsole: Sink
  /** Whether it is noted how far the console was shown. */
  readonly notesShown?: boolean
  readonly log: Log
  readonly trace: Trace
  /** Is called when a restored guest is about to run. When it throws, the guest does not run. */
  readonly beforeResume: () => void
  /** The cgroup to make for the VMM, where this host has cgroup v2. */
  readonly cgroup: { readonly mount: string; readonly settings: readonly CgroupSetting[] } | undefined
}

/**
 * Starts the VMM with its console, log and control socket. A socket that banger makes is private (0600) from birth and
 * listens before the VMM starts, so that connecting needs no wait. The process is on the journal before it is started.
 * Throws a failure, with the process gone again, when the guest does not come to run.
 */
export async function startMachine(
  session: Session,
  { boot, runsAs }: Staged,
  options: StartOptions,
): Promise<Machine> {
  const { layout, journal } = session
  const { vmm, program, trace } = options
  vmm.requireNow(boot)
  const cgroup = options.cgroup && cgroupPath(options.cgroup.mount, session.id)
  journal.acquire(
    { kind: "process", identity: null },
    ...(cgroup === undefined ? [] : [{ kind: "cgroup", path: cgroup } as const]),
  )
  if (options.cgroup) {
    const { mount, settings } = options.cgroup
    makeCgroup(mount, session.id, { settings, mark: markOf(layout) })
  }
  for (const file of [layout.consoleLog, layout.vmmLog]) writeFileSync(file, "", { mode: 0o600, flag: "wx" })
  mkfifoAt(AT_FDCWD, layout.consoleInput, 0o600)
  const launch = vmm.launch(program, boot, layout)
  const passed = launch.control.is === "passed" ? [listenPrivately(launch.control.host)] : []
  const netns = boot.network ? boot.network.netns : undefined
  const begin = (born?: number) => startChild(session, { argv: launch.argv, passed, runsAs, netns, cgroup: born })
  const child = cgroup === undefined ? begin() : withCgroup(cgroup, begin)
  const followers: Follower[] = []
  const late = new AbortController()
  let shown: Control["onConsole"]
  // Close this when the VMM exits: an open descriptor in the jail keeps its mount busy.
  let socket: number | undefined
  const letGo = () => {
    if (socket !== undefined) close(socket)
    socket = undefined
  }
  const sink: Sink = (chunk, source) => {
    const taken = options.onConsole(chunk, source)
    shown?.(chunk.subarray(0, taken))
    return taken
  }
  try {
    if (cgroup !== undefined && child.inCgroup !== true) join(cgroup, child)
    journal.refine({ kind: "process", identity: child.identity })
    const warn = (path: string) => (what: string) => options.log.warn(`${path}: ${what}`)
    const console = follow(layout.consoleLog, {
      limitBytes: options.consoleLimit,
      sink,
      shown: options.notesShown === true ? openShown(layout.consoleShown) : undefined,
      onTrouble: warn(layout.consoleLog),
    })
    followers.push(console)
    const own = vmm.name === "firecracker" ? [layout.firecrackerLog] : []
    const metrics = boot.firecracker.metrics === true ? own.map(() => layout.firecrackerMetrics) : []
    for (const file of [layout.vmmLog, ...own, ...metrics])
      followers.push(follow(file, { limitBytes: VMM_LOG_MAX_BYTES, onTrouble: warn(file) }))
    let step = "make its control socket"
    const onStep = (next: string) => {
      step = next
    }
    const connecting = async () => {
      const { is, host } = launch.control
      const awaited = async () => {
        socket = await ownSocket(host, boot, late.signal)
        if (late.signal.aborted) letGo()
      }
      const own = is === "own" ? trace.span("await socket", awaited) : undefined
      own?.catch(() => {})
      // While the VMM makes its socket.
      const connect = vmm.connect(boot, { place: layout, onStep, beforeResume: options.beforeResume })
      await own
      const path = socket === undefined ? launch.control.host : hostPath(`/proc/self/fd/${socket}`)
      const control = await trace.span("configure", async () => {
        const made = await connect(path)
        shown = made.onConsole
        await made.ready
        return made
      })
      if (boot.firecracker.vsock !== undefined && launch.control.is === "own") closeVsock(launch.control.host, boot)
      return control
    }
    const control = await within(connecting(), child, { ...options, id: session.id, step: () => step })
    child.exited.then(letGo)
    return {
      child,
      control,
      gone: gone({ child, control, followers, console }),
      showRest: (enough) => showRest(console, enough),
    }
  } catch (error) {
    late.abort(error)
    letGo()
    for (const follower of followers) follower.close()
    // A VMM that dies drops its connection first. Its own last words tell more than a lost connection.
    const died = await Promise.race([child.exited.then(() => true), Bun.sleep(200).then(() => false)])
    child.signal(SIGKILL)
    await child.exited
    const { confinement } = boot
    const copy = confinement && `${confinement.root}/${vmm.jailName(program)}`
    throw died ? endedAtOnce(layout, copy, error) : error
  }
}

// --- internal ---

function listenPrivately(path: HostPath): number {
  const umask = process.umask(0o177)
  try {
    return listenUnix(path, 4)
  } finally {
    process.umask(umask)
  }
}

/** Puts the VMM into its cgroup, before its guest runs. A VMM that has ended already is noticed by its exit. */
function join(cgroup: string, child: Child): void {
  try {
    joinCgroup(cgroup, child.identity.pid)
  } catch (error) {
    if (errorCode(error) !== "ESRCH") throw error
  }
}

function startChild(session: Session, launch: Omit<Launch, "stdin" | "stdout" | "stderr" | "held">): Child {
  const { consoleInput, consoleLog, consoleHeld, vmmLog } = session.layout
  try {
    return spawn({ ...launch, stdin: consoleInput, stdout: consoleLog, stderr: vmmLog, held: consoleHeld })
  } catch (error) {
    const message = `${launch.argv[0]} cannot be started: ${messageOf(error)}`
    throw new Failure("START_FAILED", message, { subject: launch.argv[0], cause: error })
  }
}

/** What is closed when a VMM has gone. */
interface Running {
  readonly child: Child
  readonly control: Control
  readonly followers: readonly Follower[]
  readonly console: Follower
}

async function gone({ child, control, followers, console }: Running): Promise<void> {
  // QEMU's last event may still be on its way.
  await Promise.allSettled([child.exited, control.closed])
  for (const follower of followers) {
    follower.drain()
    follower.settle()
    // A supervisor may boot many VMs, so nothing of one stays open; only its console may still have to be shown.
    if (follower !== console) follower.close()
  }
}

/** What ends the wait for a start. */
interface Bounds extends Pick<StartOptions, "limit" | "interrupt"> {
  readonly id: string
  /** What the VMM is to do next. */
  readonly step: () => string
}

/** Waits for `work`. Throws a failure when the VMM ends, the time is up, or the start is interrupted. */
async function within<T>(work: Promise<T>, child: Child, { id, limit, interrupt, step }: Bounds): Promise<T> {
  const { promise: cut, reject } = Promise.withResolvers<never>()
  const late = () => {
    const hint = `to see what it said: banger logs --vmm ${id}; on a slow host: raise timeouts.start in the plugin`
    const message = `the VMM did not ${step()} in ${formatDuration(limit)}`
    reject(new Failure("TIMED_OUT", message, { hint, subject: "timeouts.start" }))
  }
  const interrupted = () => reject(new Failure("INTERRUPTED", "the start was interrupted"))
  const timer = setTimeout(late, limit)
  interrupt.addEventListener("abort", interrupted, { once: true })
  if (interrupt.aborted) interrupted()
  try {
    // When a guest ended at once, the last answer of its VMM may still be on its way.
    const ended = child.exited
      .then(() => Bun.sleep(LAST_ANSWER_MS))
      .then(() => Promise.reject(new Failure("START_FAILED", "the VMM ended")))
    return await Promise.race([work, ended, cut])
  } finally {
    clearTimeout(timer)
    interrupt.removeEventListener("abort", interrupted)
  }
}
