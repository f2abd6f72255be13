import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { close, openAt } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { redirectSignals } from "../../base/linux/redirectSignals.ts"
import { holdSignals, letSignals } from "../../base/linux/signals.ts"
import { messageOf } from "../../base/terms/failure.ts"
import type { DhcpServer } from "../../host/dhcp/server.ts"
import { codeModules } from "../../inputs/plugin/imports.ts"
import { replaceFile } from "../../store/files/replaceFile.ts"
import { databaseDescriptors } from "../../store/state/database.ts"
import { type Machine, VMM_LOG_MAX_BYTES } from "../../vm/machine.ts"
import type { Session } from "../../vm/session.ts"
import type { PluginHost } from "../hooks/pluginHost.ts"
import { become } from "./become.ts"
import { HELD } from "./signals.ts"
import { packRest, type Restarts } from "./words.ts"

/** A VM whose supervisor may rest. */
export interface Resting {
  readonly session: Session
  readonly name: string
  readonly machine: Machine
  readonly consoleLimitBytes: number
  /** When the run's time is up, by `monotonicMs`. */
  readonly until: number | undefined
  /** Aborted when the VM's end has come, or is being brought about: whoever rested then would forget why. */
  readonly over: AbortSignal
  readonly restarts: Restarts
  /** What answers the guest by DHCP, and goes on answering. */
  readonly dhcp?: DhcpServer | undefined
}

/**
 * Makes this process one that only waits (`restUntilNeeded`), soon, unless a signal or the VM's end comes before. Where the kernel
 * refuses, this process stays as it is, and `awake` is called.
 */
export function goToRest(host: Pick<PluginHost, "interrupts" | "log">, resting: Resting, awake: () => void): void {
  holdSignals(HELD)
  let stopRedirecting = () => {}
  const stay = () => {
    stopRedirecting()
    letSignals(HELD)
    awake()
  }
  try {
    // From here on none is lost, whichever thread takes it; those that came before are told in the next turns of the event loop.
    stopRedirecting = redirectSignals(HELD)
  } catch (error) {
    host.log.debug(`the supervisor cannot rest: ${messageOf(error)}`)
    stay()
    return
  }
  setTimeout(() => {
    try {
      if (!host.interrupts.stop.aborted && !resting.over.aborted) rest(resting)
    } catch (error) {
      host.log.debug(`the supervisor cannot rest: ${messageOf(error)}`)
    }
    stay()
  }, SETTLE_MS)
}

// --- internal ---

/** Milliseconds for signals that were taken already to be told. */
const SETTLE_MS = 5

function rest({ session, name, machine, consoleLimitBytes, until, restarts, dhcp: server }: Resting): void {
  const { layout, lockFd } = session
  const vmm = machine.child.inherit?.()
  // It has ended, or was taken over from another supervisor: its parent alone learns how it ends.
  if (vmm === undefined) return
  const { control } = machine
  // Its guest has ended, and its VMM is about to: the next program would not know why.
  if (control.announced() !== undefined) return
  const events = control.inherit?.()
  if (control.inherit !== undefined && events === undefined) return
  const opened: number[] = []
  const open = (path: string, flags: number) => {
    const fd = unlessAbsent(() => openAt(AT_FDCWD, path, flags | O_NOFOLLOW))
    if (fd !== undefined) opened.push(fd)
    return fd
  }
  try {
    const dir = open(layout.dir, O.PATH | O_DIRECTORY)
    const console = open(layout.consoleLog, O.RDWR)
    if (dir === undefined || console === undefined) return
    const own = [layout.vmmLog, layout.firecrackerLog, layout.firecrackerMetrics].flatMap(
      (path) => open(path, O.RDWR) ?? [],
    )
    const logs = [
      { fd: console, limitBytes: consoleLimitBytes },
      ...own.map((fd) => ({ fd, limitBytes: VMM_LOG_MAX_BYTES })),
    ]
    // Whoever edits the plugin while the VM runs still gets the hooks that it was booted with.
    replaceFile(layout.modules, JSON.stringify(codeModules()), { lasting: "nothing" })
    const database = databaseDescriptors(session.db)
    const dhcp = server?.fd === undefined ? undefined : { fd: server.fd, lease: server.lease }
    const held = { lock: lockFd, vmm, dir, events, dhcp, database, logs }
    const words = packRest({ id: session.id, name, ...held, until, restarts })
    const others = [events, dhcp?.fd].filter((fd) => fd !== undefined)
    const fds = [lockFd, vmm, ...others, ...database, ...opened]
    become(name, { words: ["__rest", ...words], fds })
  } finally {
    for (const fd of opened) close(fd)
  }
}
