import { closeSync, openSync } from "node:fs"
import { O } from "../../base/linux/constants.ts"
import { close, openAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { inNetworkNamespace } from "../../base/linux/namespaces.ts"
import type { ProcessIdentity } from "../../store/state/handles.ts"
import { identifyChild } from "./identity.ts"
import { openPid, type PidRef, SIGKILL } from "./pidRef.ts"

export { SIGKILL }

/** How to start a VMM. */
export interface Launch {
  readonly argv: readonly string[]
  /** A FIFO, opened for reading and writing: the VMM is its own writer, and never reads its end. */
  readonly stdin: string
  /** Appended to; made with mode 0600. */
  readonly stdout: string
  readonly stderr: string
  /** Descriptors the VMM gets as 3, 4, …; closed here once it has them. */
  readonly passed: readonly number[]
  /** The uid and root directory (`device:inode`) that a jailed VMM changes to by itself. */
  readonly runsAs?: { readonly uid: number; readonly root: string } | undefined
  /** The file of the network namespace to start it in, unless that is ours. */
  readonly netns?: string | undefined
}

/** A VMM we started and watch. */
export interface Child {
  readonly identity: ProcessIdentity
  /** Resolves when it has ended: with an exit code, or the signal that ended it. */
  readonly exited: Promise<{ code: number | null; signal: string | null }>
  /** Sends a signal to this process or none. A process that has ended is no error. */
  signal(number: number): void
  /** The pidfd of a child of this process, for the program that takes this one's place; undefined once the child has ended. */
  inherit?(): number | undefined
}

/**
 * Starts a process in a session of its own, with umask 077, an empty environment, `/` as working directory and no
 * descriptors but those named. Throws Node's system error when the program cannot be started; then no process is left.
 */
export function spawn(launch: Launch): Child {
  const opened: number[] = []
  const open = (path: string, flags: number) => {
    const fd = openSync(path, flags | O.CLOEXEC, 0o600)
    opened.push(fd)
    return fd
  }
  try {
    const stdin = open(launch.stdin, O.RDWR)
    const stdout = open(launch.stdout, O.WRONLY | O.CREAT | O.APPEND)
    const stderr = open(launch.stderr, O.WRONLY | O.CREAT | O.APPEND)
    return start(launch, [stdin, stdout, stderr])
  } finally {
    for (const fd of opened) closeSync(fd)
    for (const fd of launch.passed) close(fd)
  }
}

// --- internal ---

function start(launch: Launch, [stdin, stdout, stderr]: [number, number, number]): Child {
  // The child inherits the umask of the moment. No other code of ours runs before it is set back.
  const umask = process.umask(0o077)
  let child: Bun.Subprocess
  try {
    const stdio: [number, number, number, ...number[]] = [stdin, stdout, stderr, ...launch.passed]
    const begin = () => Bun.spawn([...launch.argv], { stdio, detached: true, cwd: "/", env: {} })
    child =
      launch.netns === undefined
        ? begin()
        : withDescriptor(openAt(AT_FDCWD, launch.netns, O.RDONLY), (fd) => inNetworkNamespace(fd, begin))
  } finally {
    process.umask(umask)
  }
  // In this turn of the event loop: in the next one Bun may wait for the child, and its pid may become another's.
  const { held, identity } = identify(child, launch.runsAs)
  let ended = false
  const exited = child.exited.then(() => {
    ended = true
    held[Symbol.dispose]()
    return { code: child.exitCode, signal: child.signalCode === null ? null : String(child.signalCode) }
  })
  // Whoever waits for it keeps this process (holdProcess).
  child.unref()
  return {
    identity,
    exited,
    signal: (number) => ended || held.signal(number),
    inherit: () => (ended ? undefined : held.inherit()),
  }
}

/** Kills the child when it cannot be identified: nobody could prove later whose it is. */
function identify(child: Bun.Subprocess, runsAs: Launch["runsAs"]): { held: PidRef; identity: ProcessIdentity } {
  try {
    using opened = openPid(child.pid)
    if (opened === undefined) throw new Error(`process ${child.pid} is gone before it was waited for`)
    const identity = identifyChild(opened, runsAs)
    return { held: opened.move(), identity }
  } catch (error) {
    child.kill(SIGKILL)
    throw error
  }
}
