import { closeSync, openSync } from "node:fs"
import { O } from "../../base/linux/constants.ts"
import { close, openAt, tryFlock, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { inNetworkNamespace } from "../../base/linux/namespaces.ts"
import { startProgram } from "../../base/linux/startProgram.ts"
import type { ProcessIdentity } from "../../store/state/handles.ts"
import { childExit } from "./children.ts"
import type { ExitStatus } from "./exitStatus.ts"
import { identifyChild } from "./identity.ts"
import { pidRefOf, SIGKILL } from "./pidRef.ts"

export { SIGKILL }

/** How to start a VMM. */
export interface Launch {
  readonly argv: readonly string[]
  /** A FIFO, opened for reading and writing: the VMM is its own writer, and never reads its end. */
  readonly stdin: string
  /** Appended to; made with mode 0600. */
  readonly stdout: string
  readonly stderr: string
  /** A file to make once the program is sure to be born with a lock (flock(2)) on its standard output, which ends with its last holder. */
  readonly held?: string | undefined
  /** Descriptors the VMM gets as 3, 4, …; closed here once it has them. */
  readonly passed: readonly number[]
  /** The uid and root directory (`device:inode`) that a jailed VMM changes to by itself. */
  readonly runsAs?: { readonly uid: number; readonly root: string } | undefined
  /** The file of the network namespace to start it in, unless that is ours. */
  readonly netns?: string | undefined
  /** A descriptor of the directory of its cgroup. */
  readonly cgroup?: number | undefined
}

/** A VMM we started and watch. */
export interface Child {
  readonly identity: ProcessIdentity
  /** Whether it was born in its cgroup, and needs no move. */
  readonly inCgroup?: boolean
  /** Resolves when it has ended: with an exit code, or the signal that ended it. */
  readonly exited: Promise<ExitStatus>
  /** Sends a signal to this process or none. A process that has ended is no error. */
  signal(number: number): void
  /** The pidfd of a child of this process, for the program that takes this one's place; undefined once the child has ended. */
  inherit?(): number | undefined
}

/**
 * Starts a process in a session of its own, with umask 077, an empty environment, `/` as working directory and no
 * descriptors but those named. Throws a system error when the program, an absolute path, cannot be started; then no process is left.
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
    if (launch.held !== undefined && tryFlock(stdout)) closeSync(openSync(launch.held, "wx", 0o600))
    const stderr = open(launch.stderr, O.WRONLY | O.CREAT | O.APPEND)
    return start(launch, [stdin, stdout, stderr])
  } finally {
    for (const fd of opened) closeSync(fd)
    for (const fd of launch.passed) close(fd)
  }
}

// --- internal ---

function start(launch: Launch, stdio: readonly number[]): Child {
  const { argv, passed, netns, cgroup, runsAs } = launch
  const [path = ""] = argv
  const begin = () => startProgram({ path, argv, env: {}, fds: [...stdio, ...passed], umask: 0o077, cgroup })
  const { pid, pidfd, inCgroup } =
    netns === undefined
      ? begin()
      : withDescriptor(openAt(AT_FDCWD, netns, O.RDONLY), (fd) => inNetworkNamespace(fd, begin))
  const held = pidRefOf(pid, pidfd)
  let ended = false
  const waitForEnd = () =>
    childExit(pidfd).then((status) => {
      ended = true
      held[Symbol.dispose]()
      return status
    })
  try {
    // Before it is waited for: then its pid may become another's.
    const identity = identifyChild(held, runsAs)
    return {
      ...{ identity, inCgroup, exited: waitForEnd() },
      signal: (number) => ended || held.signal(number),
      inherit: () => (ended ? undefined : held.inherit()),
    }
  } catch (error) {
    // Nobody could prove later whose it is.
    held.signal(SIGKILL)
    waitForEnd()
    throw error
  }
}
