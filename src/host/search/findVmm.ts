import { withDescriptor } from "../../base/linux/files.ts"
import { isFailure, messageOf } from "../../base/terms/failure.ts"
import { bootId } from "../../store/state/bootId.ts"
import type { ProcessIdentity } from "../../store/state/handles.ts"
import { ELSEWHERE, processLiveness } from "../process/identity.ts"
import { closing, closingAll, openPid, type PidRef } from "../process/pidRef.ts"
import { ownNamespace } from "../process/procfs.ts"
import { processUnknown } from "./holders.ts"
import { type Marks, type Proof, proofOf } from "./proof.ts"
import { candidateSources, marksOf, openTraces, type VmmQuery, type Witness } from "./query.ts"
import type { Candidate } from "./witnesses.ts"

/** What is known of a VMM; `warnings` are what was found that is not as it should be, and was left alone. */
export type FoundVmm = Disposable &
  Warned &
  (
    | { readonly is: "alive"; readonly identity: ProcessIdentity; readonly process: PidRef; readonly by: Witness }
    | { readonly is: "dead"; readonly why: string }
    | { readonly is: "unknown"; readonly why: string; readonly hint?: string | undefined }
  )

/**
 * Finds the VMM of a VM, or proves that there is none. It signals nobody, never waits, and does not throw.
 *
 * With an identity written down, that decides: the process with this pid is the VMM when its pidfd's inode, start time,
 * boot, namespaces, uids and root directory are those. Without one (banger was killed as it started the VMM) the
 * candidates come from, in order: the cgroup; the listener on the API socket (SO_PEERPIDFD, else SO_PEERCRED); the
 * jailer's pidfile; a scan of /proc for who writes the VM's console, is in its jail, or has its command line. Each is
 * held while it is proven by uids and root directory (see `proofOf`); of several that one witness names, the oldest
 * is taken. Names, arguments, sockets and pidfiles in a jail are its uid's to write: they only say where to look.
 *
 * - `alive`: with its identity, complete. The caller closes the process.
 * - `dead`: nobody is it, and everything that could tell was read.
 * - `unknown`: something could not be read, or it runs in another namespace. Nothing may be adopted, killed or removed.
 *
 * A socket or pidfile that names another process is in `warnings`, whatever the answer is.
 */
export function findVmm(sought: VmmQuery): FoundVmm {
  return closing(look(sought))
}

// --- internal ---

interface Warned {
  readonly warnings: readonly string[]
}

type Answer = Warned &
  (
    | { readonly is: "alive"; readonly identity: ProcessIdentity; readonly process: PidRef; readonly by: Witness }
    | { readonly is: "dead"; readonly why: string; readonly process?: never }
    | { readonly is: "unknown"; readonly why: string; readonly hint?: string | undefined; readonly process?: never }
  )

function look(sought: VmmQuery): Answer {
  const warnings: string[] = []
  const started = sought.identity?.bootId ?? sought.bootId
  if (started !== undefined && started !== bootId()) return { is: "dead", why: "the host was rebooted since", warnings }
  try {
    const use = (dir: number | undefined) =>
      sought.identity === null ? search(sought, dir, warnings) : fromJournal(sought, sought.identity, dir, warnings)
    const dir = opened(sought, warnings)
    return dir === undefined ? use(undefined) : withDescriptor(dir, use)
  } catch (error) {
    return { is: "unknown", why: messageOf(error), hint: hintOf(error), warnings }
  }
}

/** Where the journal decides, a jail that cannot be looked into is worth a word, and a directory of our own not even that. */
function opened(sought: VmmQuery, warnings: string[]): number | undefined {
  try {
    return openTraces(sought)
  } catch (error) {
    if (sought.identity === null) throw error
    if (sought.jail !== undefined) warnings.push(messageOf(error))
    return undefined
  }
}

/** The journal decides; a socket or pidfile that says otherwise is worth a word. */
function fromJournal(sought: VmmQuery, identity: ProcessIdentity, dir: number | undefined, warnings: string[]): Answer {
  using truth = processLiveness(identity)
  const is = (pid: number) => pid === identity.pid && truth.is !== "dead"
  for (const { by, what, look } of candidateSources(sought, dir, {
    jail: undefined,
    console: undefined,
    commandLines: [],
  })) {
    if (by !== "socket" && by !== "pidfile") continue
    for (const { pid } of heard(look, what, warnings))
      if (!is(pid) && runs(pid)) warnings.push(`${what} names process ${pid}, which is not the VMM: left alone`)
  }
  if (truth.is === "alive") return { is: "alive", identity, process: truth.process.move(), by: "journal", warnings }
  if (truth.is === "dead") return { is: "dead", why: truth.why, warnings }
  return { is: "unknown", why: truth.why, hint: truth.hint, warnings }
}

/** Of a look whose processes need not be held. */
function heard(look: () => readonly Candidate[], what: string, warnings: string[]): readonly Candidate[] {
  try {
    const candidates = look()
    using _ = closingAll(candidates.map(({ process }) => process))
    return candidates
  } catch (error) {
    warnings.push(`${what}: ${messageOf(error)}`)
    return []
  }
}

function search(sought: VmmQuery, dir: number | undefined, warnings: string[]): Answer {
  const { pidNamespace } = sought
  if (pidNamespace !== undefined && pidNamespace !== ownNamespace("pid"))
    return { is: "unknown", why: "it was started in another PID namespace", hint: ELSEWHERE, warnings }
  const marks = marksOf(sought, dir)
  const mismatches: { pid: number; text: string }[] = []
  const unknown: { why: string; hint: string | undefined }[] = []
  for (const { by, what, trusted, look } of candidateSources(sought, dir, marks)) {
    const proven: Held[] = []
    using held = new DisposableStack()
    try {
      const candidates = look()
      for (const { process } of candidates) held.use(process)
      for (const candidate of candidates) {
        const { pid, ours } = candidate
        const proof = weigh(candidate, marks)
        if (proof.is === "proven") proven.push({ ...proof, process: held.use(proof.process) })
        else if (proof.is === "another" && ours !== true)
          mismatches.push({ pid, text: `${what} names process ${pid}: ${proof.why}` })
        else if (proof.is !== "gone" && trusted) unknown.push(unproven(pid, proof.why))
      }
    } catch (error) {
      if (trusted) unknown.push({ why: messageOf(error), hint: hintOf(error) })
      else warnings.push(`${what}: ${messageOf(error)}`)
    }
    const [oldest] = proven.sort((a, b) => a.identity.startTime - b.identity.startTime)
    if (oldest === undefined) continue
    const left = mismatches.filter(({ pid }) => pid !== oldest.identity.pid).map(({ text }) => `${text}: left alone`)
    const { identity, process } = oldest
    return { is: "alive", identity, process: process.move(), by, warnings: [...warnings, ...left] }
  }
  const all = [...warnings, ...mismatches.map(({ text }) => `${text}: left alone`)]
  const [first] = unknown
  if (first !== undefined) return { is: "unknown", ...first, warnings: all }
  return { is: "dead", why: "no process is it", warnings: all }
}

type Held = { is: "proven"; identity: ProcessIdentity; process: PidRef }

/** Holds a candidate while it is proven; when it is, the caller closes it. */
function weigh({ pid, process: given }: Candidate, marks: Marks): Exclude<Proof, { is: "proven" }> | Held {
  try {
    using process = given?.move() ?? openPid(pid)
    if (process === undefined) return { is: "gone" }
    const proof = proofOf(process, marks)
    return proof.is === "proven" ? { ...proof, process: process.move() } : proof
  } catch (error) {
    return { is: "unknown", why: messageOf(error) }
  }
}

function unproven(pid: number, why: string): { why: string; hint: string | undefined } {
  const { message, hint } = processUnknown(pid, why)
  return { why: message, hint }
}

/** Whether a process with this pid runs, as far as can be told. */
function runs(pid: number): boolean {
  try {
    using process = openPid(pid)
    return process?.hasExited() === false
  } catch {
    // It cannot be held: nothing says that it does not run.
    return true
  }
}

function hintOf(error: unknown): string | undefined {
  return isFailure(error) ? error.hint : undefined
}
