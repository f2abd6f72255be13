import { readFileSync } from "node:fs"
import { messageOf } from "../../base/terms/failure.ts"
import type { ProcessIdentity } from "../../store/state/handles.ts"
import { identityOf, ownPlace } from "../process/identity.ts"
import type { PidRef } from "../process/pidRef.ts"
import { readProcess } from "../process/procfs.ts"
import { writesTo } from "./holders.ts"

/** What only one VM's process can have. */
export interface Marks {
  /** Its jail's uid and root directory (`device:inode`), which no other VM has. */
  readonly jail: { readonly uid: number; readonly root: string } | undefined
  /** The file (`device:inode`) it writes its console to, which only this user can open. */
  readonly console: string | undefined
  /** Without a jail: what its command line begins with, behind the program: one or another. */
  readonly commandLines: readonly (readonly string[])[]
}

/** What a candidate is. */
export type Proof =
  | { readonly is: "proven"; readonly identity: ProcessIdentity }
  | { readonly is: "gone" }
  | { readonly is: "another"; readonly why: string }
  | { readonly is: "unknown"; readonly why: string }

/**
 * Whether a process is the VMM with these marks: all four of its uids and its root directory are the
 * jail's; or they are ours still, as they are until it has gone over to them, and without a jail always, and it writes the
 * VM's console or has its very command line. All is read while the process is held, and it is looked at again
 * afterwards: it was all said of this process.
 */
export function proofOf(process: PidRef, marks: Marks): Proof {
  const { pid } = process
  try {
    if (process.hasExited()) return { is: "gone" }
    const { startTime, uid, root } = readProcess(pid)
    const why = strangeness(pid, uid, root, marks)
    if (process.hasExited()) return { is: "gone" }
    if (why !== undefined) return { is: "another", why }
    if (startTime === undefined || uid === undefined) return { is: "unknown", why: `/proc/${pid} cannot be read` }
    const identity = identityOf(process, { startTime, uid, root })
    return { is: "proven", identity: marks.jail === undefined ? identity : { ...identity, becomes: marks.jail } }
  } catch (error) {
    // Under hidepid a live process looks absent in /proc: only its pidfd tells.
    return process.hasExited() ? { is: "gone" } : { is: "unknown", why: messageOf(error) }
  }
}

/** The words behind the program of a command line as /proc/PID/cmdline has it. Pure. */
export function wordsOf(cmdline: string): readonly string[] {
  return cmdline.split("\0").slice(1, -1)
}

/** Whether a process's command line is a program's with these words, one list or another, and any words behind. */
export function isCalled(pid: number, commandLines: Marks["commandLines"]): boolean {
  if (commandLines.length === 0) return false
  const own = wordsOf(readFileSync(`/proc/${pid}/cmdline`, "utf8"))
  return commandLines.some((words) => words.length > 0 && words.every((word, index) => own[index] === word))
}

// --- internal ---

/** What makes a process another than the VMM; undefined when nothing does. */
function strangeness(pid: number, uid: number | undefined, root: string, marks: Marks): string | undefined {
  const { jail, console, commandLines } = marks
  if (uid === undefined) return "its uids are not all the same"
  if (jail !== undefined && uid === jail.uid && root === jail.root) return undefined
  const own = ownPlace()
  const wanted = jail ?? own
  if (uid !== own.uid && uid !== wanted.uid) return `it has uid ${uid}, not ${wanted.uid}`
  if (root !== own.root && root !== wanted.root) return "it has another root directory"
  if (console !== undefined && writesTo(pid, console)) return undefined
  if (jail === undefined && isCalled(pid, commandLines)) return undefined
  return jail === undefined ? "neither its output nor its command line is the VM's" : "it is not in the VM's jail"
}
