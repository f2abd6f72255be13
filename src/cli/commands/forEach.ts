import { Failure, isFailure, joinFailures, usageError } from "../../base/terms/failure.ts"
import { jsonText } from "../../base/terms/message.ts"
import { endMany } from "../../operations/end/many.ts"
import { type Meant, meantBy } from "../../operations/end/stop.ts"
import type { Stopper } from "../../operations/end/stopper.ts"
import type { State } from "../../store/state/open.ts"
import type { VmRecord } from "../../store/state/records.ts"
import { isFinal } from "../../store/state/vmState.ts"
import { mayRestart } from "../../supervisor/restartPolicy.ts"
import type { Done } from "../show/documents.ts"
import { type Invocation, vmArg } from "../terminal/command.ts"
import type { Output } from "../terminal/output.ts"
import { startCounter } from "../terminal/progress.ts"

/** The arguments of a command that does the same to each VM. */
export const eachVmArgs = (which: string) =>
  ({ vm: { ...vmArg, required: false }, all: { type: "boolean", alias: "a", description: which } }) as const

/** What a command does to each VM that it is given. */
export interface EachVm {
  readonly state: State
  /** What it is doing, and what it has done: "stopping", "has ended", "have ended". */
  readonly words: { readonly doing: string; readonly one: string; readonly many: string }
  /** The VMs that `--all` means. */
  readonly all: () => readonly VmRecord[]
  /** Whether a word that means no VM is fine: the work is done already. */
  readonly mayBeGone?: boolean
  /** `shared`: what the work on many VMs shares. */
  readonly work: (vm: Meant, how: { readonly log: Output["log"]; readonly shared?: Stopper }) => Promise<Done>
}

/**
 * Does the same to each VM that a command was given, to many at a time (`endMany`); one failure does not stop the others.
 * Returns what failed, told already. Throws USAGE unless there are VMs, or `--all` in their place.
 */
export async function forEachVm(
  { vm, all }: { readonly vm?: string | undefined; readonly all?: boolean | undefined },
  invocation: Invocation,
  each: EachVm,
): Promise<Failure | undefined> {
  const { state } = each
  const { output } = invocation
  if (vm === undefined && all !== true)
    throw usageError("VM is missing", { hint: "name one or more, or give --all", subject: "VM" })
  if (vm !== undefined && all === true)
    throw usageError("--all means every VM: it takes none by name", { subject: "--all" })
  const given = vm === undefined ? each.all().map(ofAll) : distinct(state, [vm, ...invocation.more])
  const vms = each.mayBeGone === true ? given.filter((one) => isHere(one, output)) : given
  const [first] = vms
  if (vms.length > 1) return await forMany(vms, invocation, each)
  if (first !== undefined) tell(output, await each.work(first.meant(), { log: output.log }), each)
  return undefined
}

// --- internal ---

/** Of so many VMs each is told by its name; of more, how many there were. */
const NAMED_COUNT = 16

/** What a command was given: a word, and the VM that it meant then. */
interface Given {
  readonly word: string
  /** Throws where it means none. */
  readonly meant: () => Meant
}

/** One that has not ended is meant with what a restart policy boots in its place meanwhile. */
function ofAll(record: VmRecord): Given {
  const byName = !isFinal(record.state) || record.restart_at !== null || mayRestart(record)
  return { word: record.id, meant: () => ({ record, byName }) }
}

/** The words that mean a VM for the first time; those that mean none fail later, one by one. */
function distinct(state: State, words: readonly string[]): readonly Given[] {
  const seen = new Map<string, Given>()
  for (const word of words) {
    let id = word
    let meant: () => Meant
    try {
      const found = meantBy(state, word)
      id = found.record.id
      meant = () => found
    } catch (error) {
      meant = () => {
        throw error
      }
    }
    if (!seen.has(id)) seen.set(id, { word, meant })
  }
  return [...seen.values()]
}

/** Whether a word means a VM; that it means none is said. */
function isHere({ meant }: Given, { log }: Output): boolean {
  try {
    meant()
  } catch (error) {
    if (!isFailure(error) || error.code !== "NO_SUCH_VM") return true
    log.info(`${error.message}${error.hint === undefined ? "" : ` (${error.hint})`}`)
    return false
  }
  return true
}

async function forMany(
  vms: readonly Given[],
  { path, options, output }: Invocation,
  { state, words, work }: EachVm,
): Promise<Failure | undefined> {
  const failures = new Map<Given, Failure>()
  const counter = startCounter(words.doing, vms.length, output)
  const { log } = counter
  const told = { ...output, log: vms.length > NAMED_COUNT ? { ...log, info: log.debug } : log }
  let done = 0
  const exit = await endMany(state, vms, {
    log,
    words: [...path.slice(1), ...options.filter((word) => word !== "--json" && word !== "--all")],
    saysDone: (message, id) => message.endsWith(`(${id}) ${words.one}`),
    end: async ({ meant }, shared) => await work(meant(), { log, shared }),
    onEnd(vm, how) {
      if ("done" in how) {
        done++
        counter.step()
        tell(told, how.done, { words })
      } else if (how.failed.code !== "INTERRUPTED") {
        failures.set(vm, how.failed)
        tellFailure(log, vm.word, how.failed)
      }
    },
  })
  counter.end()
  const failed = vms.flatMap((vm) => failures.get(vm) ?? [])
  if (exit !== undefined) return interrupted(output, { words, exit, of: `${done} of ${vms.length} VMs` })
  if (vms.length > NAMED_COUNT)
    output.log.info(`${done === vms.length ? "" : `${done} of `}${vms.length} VMs ${words.many}`)
  return failed.length > 1 ? joinFailures(`${failed.length} of ${vms.length} VMs`, failed) : failed[0]
}

function tell({ manner, print, log }: Output, { id, name }: Done, { words }: Pick<EachVm, "words">): void {
  log.info(`${name} (${id}) ${words.one}`)
  if (manner.json) print(jsonText({ id, name } satisfies Done))
}

/** Each names its VM. */
function tellFailure(log: Output["log"], vm: string, { message, hint }: Failure): void {
  const named = message.includes(vm) ? message : `${vm}: ${message}`
  log.error(hint === undefined ? named : `${named}\n${hint}`)
}

function interrupted(
  { log }: Output,
  { words, exit, of }: { readonly words: EachVm["words"]; readonly exit: number; readonly of: string },
): Failure {
  const hint = "supervisors that were told still end theirs; to see which run: banger ps"
  const failure = new Failure("INTERRUPTED", `interrupted: ${of} ${words.many}`, { exit, hint })
  log.error(`${failure.message}\n${hint}`)
  return failure
}
