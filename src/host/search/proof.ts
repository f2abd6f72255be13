import { readFileSync } from "node:fs"
import { messageOf } from "../../base/terms/failure.ts"
import type { ProcessIdentity } from "../../store/state/handles.ts"
import { identityOf, ownPlace } from "../process/identity.ts"
import type { PidRef } from "../process/pidRef.ts"
import { readProcess } from "../process/procfs.ts"
import { writesTo } from "./holders.ts"

/** What only the VMM of one VM can have. */
export interface Marks {
  /** The uid and root directory (`device:inode`) of its jail. No other VM has them. */
  readonly jail: { readonly uid: number; readonly root: string } | undefined
  /** The file (`device:inode`) that the console goes to. Only this user can open it. */
  readonly console: string | undefined
  /** Without a jail: how its command line begins, behind the program's name: one of these lists. */
  readonly commandLines: readonly (readonly string[])[]
}

/** What is proven of a candidate. */
export type Proof =
  | { readonly is: "proven"; readonly identity: ProcessIdentity }
  | { readonly is: "gone" }
  | { readonly is: "another"; readonly why: string }
  | { readonly is: "unknown"; readonly why: string }

/**
 * Whether a process is the VMM with these marks. Either all four of its uids and its root directory are the jail's. Or they
 * are still ours (until it changes to the jail's; without a jail, always), and it writes the VM's console or, without a
 * jail, has the VM's command line. Everything is read while the process is held, and it is looked at again afterwards.
 */
export function proofOf(process: PidRef, marks: Marks): Proof {
  const { pid } = process
  try {
    if (process.hasExited()) return { is: "gone" }
    const facts = readProcess(pid)
    const { startTime, uid, root } = facts
    const why = strangeness(pid, facts, marks)
    if (process.hasExited()) return { is: "gone" }
    if (why !== undefined) return { is: "another", why }
    if (startTime === undefined || uid === undefined) return { is: "unknown", why: `/proc/${pid} cannot be read` }
    const identity = identityOf(process, { startTime, uid, root })
    return { is: "proven", identity: marks.jail === undefined ? identity : { ...identity, runsAs: marks.jail } }
  } catch (error) {
    // Under hidepid a process that runs looks absent in /proc: only the pidfd tells.
    return process.hasExited() ? { is: "gone" } : { is: "unknown", why: messageOf(error) }
  }
}

/** The words behind the program of a command line as /proc/PID/cmdline has it. Pure. */
export function wordsOf(cmdline: string): readonly string[] {
  return cmdline.split("\0").slice(1, -1)
}

/** Whether a process's command line begins, behind the program's name, with one of these lists of words. */
export function isCalled(pid: number, commandLines: Marks["commandLines"]): boolean {
  if (commandLines.length === 0) return false
  const own = wordsOf(readFileSync(`/proc/${pid}/cmdline`, "utf8"))
  return commandLines.some((words) => words.length > 0 && words.every((word, index) => own[index] === word))
}

// --- internal ---

/** Why a process is not the VMM; undefined when it is. */
function strangeness(
  pid: number,
  { uid, root }: { readonly uid: number | undefined; readonly root: string },
  { jail, console, commandLines }: Marks,
): string | undefined {
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
