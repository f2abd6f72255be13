import { Failure } from "../../base/terms/failure.ts"
import { prefixed } from "../../base/terms/log.ts"
import { requireUnclaimed } from "../../store/disks/claims.ts"
import type { State } from "../../store/state/open.ts"
import { vmLayout } from "../../store/state/places.ts"
import { listUnfinished, type VmRecord } from "../../store/state/records.ts"
import { isFinal } from "../../store/state/vmState.ts"
import { disksOf } from "../../supervisor/boot/drives.ts"
import { inOrder } from "../../supervisor/hooks/callHook.ts"
import type { PluginHost } from "../../supervisor/hooks/pluginHost.ts"
import { takeOver } from "../../supervisor/takeOver.ts"
import { changesOfVm } from "../../vm/awaitChange.ts"
import { lockHolder } from "../../vm/lock.ts"
import { type LockedVm, lockVmRecord } from "../../vm/lockVmRecord.ts"
import { ownerOf, requestOf } from "../../vm/request.ts"
import { requireRestorable } from "../../vm/session.ts"
import { statusOf } from "../../vm/status.ts"
import { runApart } from "../end/apart.ts"
import { stopVm } from "../end/stop.ts"
import type { Among } from "../end/stopper.ts"
import { betweenBoots } from "../end/unended.ts"
import { connectTerminal } from "../keyboard/runTerminal.ts"
import { claimOf } from "./createVm.ts"
import { differences } from "./differences.ts"
import { takeLog } from "./ownLog.ts"
import { countPostBoots } from "./postBoots.ts"
import type { ResolvedRun } from "./resolveRun.ts"
import { type Booted, planId } from "./runOnce.ts"
import type { RunRequest } from "./runRequest.ts"

/** What may be taken up. */
export interface TakingUp {
  readonly run: ResolvedRun
  /** Where this process's messages go, when it has no terminal. */
  readonly logFile: string | undefined
}

/** The VM of a name that has not ended, if there is one. */
export function livingNamed({ db }: State, name: string): VmRecord | undefined {
  return listUnfinished(db, name).find((record) => !isFinal(record.state))
}

/**
 * Instead of a first boot: watches to its end the VM of the run's name that has lost its supervisor, where it was booted from the
 * same plugin file, spec and arguments. Undefined where there is none; a VM that is to be replaced is stopped first. Throws
 * IN_USE, with the VM left as it is, where something differs.
 */
export async function takeUp(host: PluginHost, state: State, { run, logFile }: TakingUp): Promise<Booted | undefined> {
  const { request, plugin } = run
  const { name } = plugin.spec
  if (request.replace) return void (await replace(host, state, run))
  const living = livingNamed(state, name)
  if (living === undefined) return undefined
  requireTheirs(living, request)
  if (request.supervisor === "none" || request.restore !== undefined) return undefined
  const locked = await lockUnsupervised(host, state, living.id)
  if (locked === undefined) return undefined
  let unlocks = true
  try {
    // What is not well is finished as ever.
    if (locked.record.state !== "running" || statusOf(state, locked.record).liveness !== "alive") return undefined
    requireSame(locked, run)
    const cut = cutShort(locked, run)
    if (cut !== undefined) {
      // Only a service manager asks for whatever it takes to have the VM run.
      if (host.service === undefined) throw notAsAsked(locked.record, cut)
      request.log.warn(`${name} (${living.id}) has lost its supervisor, and ${cut}: it is stopped, and booted anew`)
      locked.lock.unlock()
      unlocks = false
      return void (await replace(host, state, run))
    }
    const booted = await watch(host, state, { run, locked, logFile })
    unlocks = booted === undefined
    return booted
  } finally {
    if (unlocks) locked.lock.unlock()
  }
}

// --- internal ---

/** What another banger does with a VM for a moment is waited for so long, in milliseconds. */
const LOCK_WAIT_MS = 10_000

/** How often to look whether a VM has ended, in milliseconds. */
const LOOK_MS = 250

/** Another that its restart policy is about to boot again is stopped as well. */
async function replace(host: PluginHost, state: State, run: ResolvedRun): Promise<void> {
  const { request, plugin } = run
  const { name } = plugin.spec
  const unfinished = listUnfinished(state.db, name)
  const record = unfinished.find((one) => !isFinal(one.state) || one.restart_at !== null) ?? betweenBoots(state, name)
  if (record === undefined) return
  requireTheirs(record, request)
  // Nothing is stopped for a VM that could not take its place.
  planId(run)
  const claim = claimOf(run)
  if (claim !== undefined) requireRestorable(state.db, claim)
  const { id, state: now } = record
  requireUnclaimed(state.db, disksOf(plugin.spec.drives), id)
  request.log.info(
    `${name} ${isFinal(now) ? "is about to restart" : "runs already"} (${id}): stopping it, to be replaced`,
  )
  const log = prefixed(request.log, name)
  const { interrupts } = host
  const among: Among = {
    ...{ pollMs: LOOK_MS, waits() {}, sleeps() {} },
    async apart(vm) {
      const failure = await runApart(["system", "shutdown", vm], { interrupts, log: { ...log, info: log.debug } })
      if (failure !== undefined) throw failure
    },
  }
  await stopVm(
    state,
    { record, byName: true },
    { action: "stop", passing: true, log, shared: { interrupts, log, among, pluginHost: async () => host } },
  )
}

/**
 * Throws IN_USE for a VM of another user's, where root runs one for a user; and for one of their own that lost its supervisor, with it
 * the process that has its hooks: that one is to be stopped.
 */
function requireTheirs(record: VmRecord, { owner, replace }: Pick<RunRequest, "owner" | "replace">): void {
  const theirs = owner !== undefined && owner.uid === ownerOf(record)
  if (owner === undefined ? ownerOf(record) === undefined : theirs && replace) return
  const { name, id } = record
  if (owner === undefined) {
    const hint = "choose another with --name; or stop it by its id"
    throw new Failure("IN_USE", `the name ${name} is taken by VM ${id} of uid ${ownerOf(record)}`, {
      hint,
      subject: name,
    })
  }
  const hint = theirs ? `to end it: banger stop ${name}; or run again with --replace` : "choose another with --name"
  throw new Failure("IN_USE", `the name ${name} is taken${theirs ? ` by VM ${id}` : " by another user's VM"}`, {
    ...{ hint, subject: name },
  })
}

/** Undefined where it has a supervisor, or is gone. */
async function lockUnsupervised({ interrupts }: PluginHost, state: State, id: string): Promise<LockedVm | undefined> {
  const layout = vmLayout(state.where, id)
  const deadline = performance.now() + LOCK_WAIT_MS
  using changes = changesOfVm(layout)
  for (;;) {
    const locked = lockVmRecord(state, id, "supervise")
    if (locked === "gone") return undefined
    if (locked !== undefined) return locked
    using holder = lockHolder(layout)
    const late = interrupts.stop.aborted || performance.now() >= deadline
    if (late || (holder.is === "held" && holder.doing === "supervise")) return undefined
    await changes.next(interrupts.stop)
  }
}

/** Throws IN_USE, with what differs, unless a VM on record is what a run asks for. */
function requireSame({ record }: LockedVm, { request, plugin }: ResolvedRun): void {
  const { name } = record
  const { args } = requestOf(record)
  const differs = [
    ...(record.plugin_sha256 === plugin.loaded.sha256 ? [] : [`its plugin, ${record.plugin_path}, was another file`]),
    ...differences({ ...JSON.parse(record.spec), name }, { ...JSON.parse(JSON.stringify(plugin.written)), name }),
    ...differences({ arguments: args }, { arguments: request.args }),
  ]
  if (differs.length > 0) throw notAsAsked(record, differs.join("; "))
}

/** How many of its postBoot hooks are done, where its supervisor was ended in one: nobody knows what that one has done. */
function cutShort({ layout }: LockedVm, { plugin }: ResolvedRun): string | undefined {
  const [hooks, done] = [inOrder(plugin.loaded, "postBoot").length, countPostBoots(layout)]
  return done < hooks ? `of its ${hooks} postBoot hooks ${done} are done` : undefined
}

function notAsAsked({ id, name }: VmRecord, how: string): Failure {
  const hint = `to watch it as it is: banger supervise ${id}; to stop it and boot this one: run again with --replace`
  const message = `${name} runs already (${id}), without a supervisor, and is not what is asked for: ${how}`
  return new Failure("IN_USE", message, { hint, subject: name })
}

async function watch(
  host: PluginHost,
  state: State,
  { run: { request, plugin }, locked, logFile }: TakingUp & { readonly locked: LockedVm },
): Promise<Booted | undefined> {
  const { record, layout } = locked
  const { id, name, vmm } = record
  const log = prefixed(request.log, name)
  const own = logFile === undefined ? undefined : takeLog(logFile, layout, request.log)
  const toTerminal = request.onConsole !== undefined
  const leaving = request.supervisor === "detached" ? await import("../../supervisor/leaveCaller.ts") : undefined
  await leaving?.leaveCaller({ id, name }, request.log)
  let pid: number | undefined
  let kept: Promise<void> | undefined
  const taken = await takeOver({ ...host, log }, state, {
    locked,
    goal: {
      ...{ do: "supervise", plugin, onConsole: request.onConsole },
      document: request.supervisor === "foreground" && !toTerminal,
      onRunning: (running) => {
        pid = running
        kept = leaving?.keepVmm({ id, name, pid }, request.log)
        return toTerminal ? connectTerminal(layout.consoleInput, host, request.interactive) : () => {}
      },
      onReady() {
        log.info(`runs already (${id}), as it is asked for: watched from now on`)
        const told = { id, name, vmm, pid, dir: layout.dir }
        kept === undefined ? request.onBooted(told) : kept.then(() => request.onBooted(told))
      },
    },
  })
  own?.close()
  if (taken.is === "running" || taken.outcome === undefined) return undefined
  const { session, outcome } = taken
  return { session, outcome, booted: true, logFile: own === undefined ? logFile : layout.supervisorLog }
}
