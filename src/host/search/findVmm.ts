import { bootId } from "../../base/linux/bootId.ts"
import { withDescriptor } from "../../base/linux/files.ts"
import { isFailure, messageOf } from "../../base/terms/failure.ts"
import type { LivenessAnswer } from "../../base/terms/liveness.ts"
import type { ProcessIdentity } from "../../store/state/handles.ts"
import { ELSEWHERE, processLiveness } from "../process/identity.ts"
import { closing, closingAll, openPid, type PidRef } from "../process/pidRef.ts"
import { ownNamespace } from "../process/procfs.ts"
import { endItHint, mayBeIt } from "./holders.ts"
import { type Marks, type Proof, proofOf } from "./proof.ts"
import { provenGone, runsOn } from "./provenGone.ts"
import { candidateSources, marksOf, openTraces, type VmmQuery, type Witness } from "./query.ts"
import type { Candidate } from "./witnesses.ts"

// The room search: which processes are a VM's, or use its files.
// The rule: what a VMM could have written (names, arguments, sockets, pidfiles) only says where to look. Proof is what the
// kernel says of a process that is held; what cannot be read is "unknown", never "dead".

/** What is known of a VM's VMM. `warnings` tell what names another process: it was left alone. */
export type FoundVmm = Disposable & Answer

/**
 * Finds the VMM of a VM, or proves that there is none. Signals no process and throws nothing.
 *
 * A recorded identity decides: the process with its pid is the VMM when the pidfd's inode, start time, boot, namespaces,
 * uids and root directory are the recorded ones. Without one (banger was killed while it started the VMM) candidates come
 * from, in this order: the cgroup; the listener on the API socket (SO_PEERPIDFD, else SO_PEERCRED); the jailer's pidfile;
 * a scan of /proc for what writes the VM's console, is in its jail, or has its command line. Each candidate is proven
 * while it is held (see `proofOf`). Where one source names several, the oldest is taken.
 *
 * - `alive`: with its whole identity. The caller closes the process.
 * - `dead`: no process is the VMM, and everything that could tell was read; or something else proves it (see `provenGone`).
 * - `unknown`: something could not be read, or is in another namespace or of another boot's id. Nothing may be adopted, killed or removed.
 */
export function findVmm(sought: VmmQuery): FoundVmm {
  return closing(look(sought))
}

// --- internal ---

type Answer = { readonly warnings: readonly string[] } & LivenessAnswer<{
  readonly identity: ProcessIdentity
  readonly process: PidRef
  readonly by: Witness
}>

interface Look {
  /** The directory of the VM's socket and pidfile, where it could be opened. */
  readonly dir: number | undefined
  readonly warnings: string[]
}

function look(sought: VmmQuery): Answer {
  const answer = lookByPid(sought)
  const why = answer.is === "unknown" ? provenGone(sought) : undefined
  return why === undefined ? answer : { is: "dead", why, warnings: answer.warnings }
}

function lookByPid(sought: VmmQuery): Answer {
  const warnings: string[] = []
  const started = sought.identity?.bootId ?? sought.bootId
  try {
    if (started !== undefined && started !== bootId()) {
      const still = runsOn(sought)
      if (still === undefined) return { is: "dead", why: "the host was rebooted since", warnings }
      return {
        is: "unknown",
        why: `it was started where this boot has another id, and ${still}`,
        hint: ELSEWHERE,
        warnings,
      }
    }
    const use = (dir: number | undefined) =>
      sought.identity === null
        ? search(sought, { dir, warnings })
        : byIdentity(sought, sought.identity, { dir, warnings })
    const dir = opened(sought, warnings)
    return dir === undefined ? use(undefined) : withDescriptor(dir, use)
  } catch (error) {
    return { is: "unknown", why: messageOf(error), hint: hintOf(error), warnings }
  }
}

/** Where an identity decides, a jail that cannot be opened is only a warning, and a directory of our own not even that. */
function opened(sought: VmmQuery, warnings: string[]): number | undefined {
  try {
    return openTraces(sought)
  } catch (error) {
    if (sought.identity === null) throw error
    if (sought.jail !== undefined) warnings.push(messageOf(error))
    return undefined
  }
}

/** The identity decides; a socket or pidfile that names another process is a warning. */
function byIdentity(sought: VmmQuery, identity: ProcessIdentity, { dir, warnings }: Look): Answer {
  using liveness = processLiveness(identity)
  const is = (pid: number) => pid === identity.pid && liveness.is !== "dead"
  for (const { by, what, look } of candidateSources(sought, dir, {
    jail: undefined,
    console: undefined,
    commandLines: [],
  })) {
    if (by !== "socket" && by !== "pidfile") continue
    for (const { pid } of heard(look, what, warnings))
      if (!is(pid) && runs(pid)) warnings.push(`${what} names process ${pid}, which is not the VMM: left alone`)
  }
  if (liveness.is === "alive")
    return { is: "alive", identity, process: liveness.process.move(), by: "journal", warnings }
  if (liveness.is === "dead") return { is: "dead", why: liveness.why, warnings }
  return { is: "unknown", why: liveness.why, hint: liveness.hint ?? endItHint(identity.pid), warnings }
}

/** Whom a source names; they are closed already. */
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

function search(sought: VmmQuery, { dir, warnings }: Look): Answer {
  const { pidNamespace } = sought
  if (pidNamespace !== undefined && pidNamespace !== ownNamespace("pid"))
    return { is: "unknown", why: "it was started in another PID namespace", hint: ELSEWHERE, warnings }
  const marks = marksOf(sought, dir)
  const mismatches: { pid: number; text: string }[] = []
  const unknown: { why: string; hint: string | undefined }[] = []
  for (const { by, what, trusted, look } of candidateSources(sought, dir, marks)) {
    const proven: Proven[] = []
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
        else if (proof.is !== "gone" && trusted) unknown.push({ why: mayBeIt(pid, proof.why), hint: endItHint(pid) })
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

type Proven = { is: "proven"; identity: ProcessIdentity; process: PidRef }

/** Holds a candidate while it is looked at. The caller closes one that is proven. */
function weigh({ pid, process: given }: Candidate, marks: Marks): Exclude<Proof, { is: "proven" }> | Proven {
  try {
    using process = given?.move() ?? openPid(pid)
    if (process === undefined) return { is: "gone" }
    const proof = proofOf(process, marks)
    return proof.is === "proven" ? { ...proof, process: process.move() } : proof
  } catch (error) {
    return { is: "unknown", why: messageOf(error) }
  }
}

/** Whether a process with this pid runs, as far as can be told. */
function runs(pid: number): boolean {
  try {
    using process = openPid(pid)
    return process?.hasExited() === false
  } catch {
    // Nothing proves that it has ended.
    return true
  }
}

function hintOf(error: unknown): string | undefined {
  return isFailure(error) ? error.hint : undefined
}
