import { openSync } from "node:fs"
import { close } from "../base/linux/files.ts"
import { Failure, messageOf } from "../base/terms/failure.ts"
import type { Log } from "../base/terms/log.ts"
import { hostPath } from "../base/terms/path.ts"
import { HALTED_TAIL_BYTES } from "../host/firecracker/halted.ts"
import { exitStatusOf } from "../host/process/exitStatus.ts"
import { type PidRef, SIGKILL } from "../host/process/pidRef.ts"
import type { Child } from "../host/process/spawn.ts"
import type { Control, Vmm } from "../host/vmm/vmm.ts"
import { type Follower, follow } from "../store/logs/boundedFile.ts"
import { type Sink, tailOf } from "../store/logs/growing.ts"
import { openShown } from "../store/logs/shown.ts"
import { showRest } from "../store/logs/showRest.ts"
import type { ProcessIdentity, Resource } from "../store/state/handles.ts"
import type { VmLayout } from "../store/state/places.ts"
import { openOwnSocket } from "../vm/controlSocket.ts"
import { type Machine, VMM_LOG_MAX_BYTES } from "../vm/machine.ts"

/** A VMM that runs already has this long, in milliseconds, to answer on its control socket. */
const ANSWER_WAIT_MS = 5000

/** What is known of a VM that is taken over. */
export interface Adoption {
  readonly vmm: Vmm
  readonly layout: VmLayout
  readonly resources: readonly Resource[]
  readonly identity: ProcessIdentity
  /** Its process, proven; kept open as long as it runs, and closed then. */
  readonly process: PidRef
  readonly consoleLimit: number
  /** The reason for shutting down that its VMM has given already. */
  readonly announced: string | undefined
  /** Gets what the guest says from now on. */
  readonly onConsole?: Sink | undefined
  /** Whether it is noted how far the console was shown: then it is shown from there. */
  readonly notesShown?: boolean
  readonly log: Log
}

/**
 * Takes over a VMM that another banger started: waits for its end, keeps its logs below their limits, and
 * reaches its guest by its control socket. Where that socket cannot be reached the VM can still be killed.
 */
export async function adoptMachine(adoption: Adoption): Promise<Machine> {
  const { layout, consoleLimit, onConsole, notesShown, log } = adoption
  const child = adoptChild(adoption)
  const connected = await connect(adoption, child.exited)
  const control: Control = { ...connected, announced: () => connected.announced() ?? adoption.announced }
  const warn = (path: string) => (what: string) => log.warn(`${path}: ${what}`)
  let show: Sink = takeAll
  const sink: Sink = (chunk, source) => {
    const taken = show(chunk, source)
    control.onConsole?.(chunk.subarray(0, taken))
    return taken
  }
  const followers: Follower[] = []
  let console: Follower | undefined
  // Somebody may have removed one: that must not keep the VM from being stopped.
  if (isThere(layout.consoleLog)) {
    const { consoleLog } = layout
    const shown = onConsole !== undefined && notesShown === true ? openShown(layout.consoleShown) : undefined
    // A guest that has powered off says no more: what it said while nobody listened is heard now.
    if (shown?.before !== undefined) control.onConsole?.(Buffer.from(tailOf(consoleLog, HALTED_TAIL_BYTES)))
    // What it said before is shown where it is known how far it was.
    if (shown?.before !== undefined) show = onConsole ?? takeAll
    console = follow(consoleLog, { limitBytes: consoleLimit, sink, shown, onTrouble: warn(consoleLog) })
    followers.push(console)
    show = onConsole ?? takeAll
  } else log.warn(`${layout.consoleLog} was removed: what the guest says is lost`)
  for (const file of [layout.vmmLog, layout.firecrackerLog, layout.firecrackerMetrics].filter(isThere))
    followers.push(follow(file, { limitBytes: VMM_LOG_MAX_BYTES, onTrouble: warn(file) }))
  const shown = onConsole === undefined ? undefined : console
  const gone = child.exited.then(() => {
    for (const follower of followers) {
      follower.drain()
      follower.settle()
      if (follower !== shown) follower.close()
    }
  })
  return { child, control, gone, showRest: async (enough) => shown === undefined || showRest(shown, enough) }
}

// --- internal ---

const takeAll: Sink = (chunk) => chunk.length

function adoptChild({ identity, process }: Adoption): Child {
  let ended = false
  let killed = false
  const exited = process.exited().then(async () => {
    const status = await exitStatusOf(process, identity)
    ended = true
    process[Symbol.dispose]()
    return status ?? { code: null, signal: killed ? "SIGKILL" : null }
  })
  return {
    identity,
    exited,
    signal(number) {
      killed ||= number === SIGKILL
      if (!ended) process.signal(number)
    },
  }
}

/** Also without its control socket a guest is heard on its console, and ended when it has powered off. */
async function connect(adoption: Adoption, exited: Promise<unknown>): Promise<Control> {
  const late = Bun.sleep(ANSWER_WAIT_MS).then(() => Promise.reject(new Error("it does not answer")))
  late.catch(() => {})
  try {
    return await Promise.race([connected(adoption, exited), late])
  } catch (error) {
    const unreachable = `its control socket cannot be reached (${messageOf(error)})`
    const refuse = () => Promise.reject(new Failure("WRONG_STATE", unreachable, { subject: adoption.layout.id }))
    return {
      ready: Promise.resolve(),
      pressCtrlAltDel: undefined,
      ...{ pause: refuse, resume: refuse, unreachable },
      ...(adoption.vmm.listenToConsole?.() ?? { announced: () => undefined }),
      closed: Promise.resolve(),
    }
  }
}

async function connected({ vmm, layout, resources, identity }: Adoption, exited: Promise<unknown>): Promise<Control> {
  const control = vmm.control(layout, undefined)
  if (control.is === "passed") {
    const connection = await vmm.adopt(control.host)
    await connection.ready
    return connection
  }
  const fd = openOwnSocket(control.host, { layout, resources, identity })
  // Requests go to that very socket. Held longer, it would keep the jail's mount busy.
  exited.then(() => close(fd))
  return await vmm.adopt(hostPath(`/proc/self/fd/${fd}`))
}

function isThere(path: string): boolean {
  try {
    close(openSync(path, "r"))
    return true
  } catch {
    // Not every VMM has each of them.
    return false
  }
}
