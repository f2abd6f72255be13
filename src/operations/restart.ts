import { ownEnvironment } from "../base/linux/environment.ts"
import { Failure } from "../base/terms/failure.ts"
import type { Log } from "../base/terms/log.ts"
import { specOfRecord } from "../inputs/plugin/specOfRecord.ts"
import { type Asker, trustOf } from "../inputs/plugin/trust.ts"
import { noteRestart } from "../store/state/notes.ts"
import type { State } from "../store/state/open.ts"
import { findRecord, type VmRecord } from "../store/state/records.ts"
import { orInterrupted } from "../supervisor/hooks/interrupts.ts"
import { type PluginHost, startPluginHost } from "../supervisor/hooks/pluginHost.ts"
import { packRestarts, type Restarts } from "../supervisor/rest/words.ts"
import { restartPolicy } from "../supervisor/restartPolicy.ts"
import type { RunOutcome } from "../supervisor/vmContext.ts"
import { exitText } from "../vm/exit.ts"
import { ownerOf, requestOf } from "../vm/request.ts"
import { type DetachedVm, detach } from "./detach.ts"
import { stopVm } from "./end/stop.ts"
import { backOff } from "./run/backOff.ts"
import { requireRunnable, resolveRun } from "./run/resolveRun.ts"
import type { RunRequest } from "./run/runRequest.ts"

/**
 * Stops a VM if it runs, and runs its plugin again in the background. Before the VM is stopped it is checked that its
 * plugin can still be run: otherwise throws a failure, with the VM left as it is. Returns the VM that runs, or the exit
 * status of a start that failed; `say` gets what that says, line by line.
 */
export async function restartVm(
  state: State,
  reference: string,
  { log, say }: { readonly log: Log; readonly say: (line: string) => void },
): Promise<DetachedVm | number> {
  const record = findRecord(state.db, reference)
  requireOwnHooks(record)
  const words = rerunArgv(record)
  try {
    await checkRerun(record, log)
  } catch (error) {
    log.error(`${reference} is left as it is: its plugin cannot be run again`)
    throw error
  }
  await stopVm(state, { record, byName: reference === record.name }, { action: "stop", passing: true, log })
  return await detach("__run", log.json === undefined ? words : ["--json", ...words], say)
}

/** What a supervisor that has rested knows of its VM's boots. */
export interface Rested {
  readonly restarts: Restarts
  readonly modules: string
}

/**
 * Boots a VM again that was taken over and has ended, where its restart policy says so: in a process of its own, which loads
 * the plugin as any run does, and follows the policy from there. Of one whose supervisor has rested (`rested`: where its modules
 * are kept, and its restarts), the plugin is what it was, as it is of one that never rested. The caller keeps the ended VM
 * locked.
 */
export async function restartDetached(
  host: PluginHost,
  { db }: State,
  record: VmRecord,
  { failure, exit, rested }: Pick<RunOutcome, "failure" | "exit"> & { readonly rested: Rested | undefined },
): Promise<void> {
  const { log, interrupts } = host
  // Its plugin's hooks are to be found in its user's process alone, which has gone.
  if (ownerOf(record) !== undefined) return
  const { restart, timeouts } = specOfRecord(record)
  const policy = restartPolicy(restart, rested?.restarts)
  const waitMs = interrupts.stop.aborted ? undefined : policy.next({ failure, exit })
  if (waitMs === undefined) return
  const { id, name } = record
  try {
    const why = failure?.message ?? exitText(exit)
    if (!(await backOff(host, { db, id }, { waitMs, why, log }))) return
    const words = [
      `--restarts=${packRestarts(policy.restarts())}`,
      ...(rested === undefined ? [] : [`--kept=${rested.modules}`]),
      // It may have been given by hand.
      ...(rested === undefined || timeouts.run === undefined ? [] : [`--timeout=${timeouts.run}ms`]),
      ...rerunArgv(record),
    ]
    const vm = await detach("__run", words, log.info)
    if (typeof vm === "number") log.error(`${name} was not booted again (exit code ${vm})`)
  } finally {
    noteRestart(db, id, null)
  }
}

/** The words of `banger __run` that run a VM's plugin again as it was asked for, under the same name and by the same VMM. */
export function rerunArgv(record: VmRecord): readonly string[] {
  const { args } = requestOf(record)
  const asked = askerBefore(record) === undefined ? [] : [`--asked-as=${record.id}`]
  const words = [...asked, `--name=${record.name}`, `--vmm=${record.vmm}`, record.plugin_path]
  return args.length === 0 ? words : [...words, "--", ...args]
}

/** Who root ran a VM for, unless they ask again now, by sudo: then their plugin may have changed. */
export function askerBefore(record: VmRecord): Asker | undefined {
  const { asker } = requestOf(record)
  const { uids } = trustOf(process.geteuid?.() ?? 0, ownEnvironment().SUDO_UID)
  return asker === undefined || uids?.includes(asker.uid) === true ? undefined : asker
}

// --- internal ---

/** Throws WRONG_STATE for a VM that root's helper has run for a user. */
function requireOwnHooks(record: VmRecord): void {
  const owner = ownerOf(record)
  if (owner === undefined) return
  const hint = "they run it again themselves: banger stop, banger run"
  const message = `${record.id} is uid ${owner}'s, and its plugin's hooks run in that user's own process only`
  throw new Failure("WRONG_STATE", message, { hint, subject: record.id })
}

/** Throws a failure unless a VM's plugin can be loaded, its files are there, and this host can still run it. */
async function checkRerun(record: VmRecord, log: Log): Promise<void> {
  using host = startPluginHost(log)
  try {
    requireRunnable(await resolveRun(host, requestFor(record, log)), () => record)
  } catch (error) {
    throw orInterrupted(host.interrupts, error)
  }
}

/** What `rerunArgv` says, as a request. */
function requestFor(record: VmRecord, log: Log): RunRequest {
  return {
    ...{ plugin: record.plugin_path, name: record.name, vmm: record.vmm, args: requestOf(record).args },
    ...{ plan: true, keepOnFailure: false, replace: false, restore: undefined, timeout: undefined, trace: undefined },
    ...{
      log,
      asker: askerBefore(record),
      onConsole: undefined,
      supervisor: "detached",
      logFile: undefined,
      onBooted: () => {},
    },
  }
}
