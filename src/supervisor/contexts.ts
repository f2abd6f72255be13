import { isAbsolute } from "node:path"
import type { Drive, Exit, PostStopContext, PreBootContext, RunningContext, Stage, Vm } from "banger"
import { Failure, usageError } from "../base/terms/failure.ts"
import { type StageRoot, stageCopy, stageLink, stageWrite } from "../host/jail/stage.ts"
import type { Control } from "../host/vmm/vmm.ts"
import { parseSpec } from "../inputs/plugin/definition.ts"
import type { ResolvedPlugin } from "../inputs/plugin/resolved.ts"
import { openState } from "../store/state/open.ts"
import type { Surroundings } from "./boot/prepare.ts"
import type { VmStage } from "./boot/stage.ts"
import { snapshotVm } from "./snapshot/save.ts"
import type { RunningVm, VmContext } from "./supervision.ts"

/** What all hooks of one VM share. */
export interface VmSurroundings extends Surroundings {
  readonly vm: Vm
  readonly dir: string
}

/** What all hooks of a VM are given. */
export function surroundings(run: VmContext, live: RunningVm): VmSurroundings {
  const { prepared, session, vmm, log, args } = run
  const { name, vcpus, memory } = prepared.spec
  const vm = {
    id: session.id,
    name,
    vmm: vmm.name,
    vcpus,
    memoryMiB: memory,
    consoleLog: session.layout.consoleLog,
    get pid() {
      return live.machine?.child.identity.pid
    },
    get network() {
      return live.network
    },
  }
  return {
    vm,
    args,
    log,
    get dir() {
      return live.dir
    },
  }
}

/** The context of postBoot and preStop, of a VM with this control connection. */
export function runningContext(
  around: VmSurroundings,
  signal: AbortSignal,
  control: Pick<Control, "pause" | "resume">,
): RunningContext {
  const unlessOver = (work: () => Promise<void>) => async () => {
    signal.throwIfAborted()
    await work()
  }
  const snapshot = async (dir: string) => {
    signal.throwIfAborted()
    if (!isAbsolute(dir)) throw usageError(`ctx.snapshot: ${dir} is not an absolute path`)
    using state = openState()
    await snapshotVm(state, around.vm.id, dir)
  }
  return { ...around, signal, snapshot, pause: unlessOver(control.pause), resume: unlessOver(control.resume) }
}

/** The context of postStop. */
export function postStopContext(
  around: VmSurroundings,
  signal: AbortSignal,
  exit: Exit,
  again: boolean,
): PostStopContext {
  return { ...around, signal, exit, again }
}

/**
 * The context of preBoot. A drive that a hook adds is checked with all before it, and appended to `drives`. Once `over` is
 * aborted, and with it the hook, neither a file nor a drive can be added.
 */
export function preBootContext(
  around: VmSurroundings,
  signal: AbortSignal,
  over: AbortSignal,
  prepared: ResolvedPlugin,
  stage: VmStage,
  drives: ResolvedPlugin["spec"]["drives"],
): PreBootContext {
  const open = AbortSignal.any([signal, over])
  const add = (drive: Drive) => {
    open.throwIfAborted()
    if (!isAbsolute(drive.path))
      throw usageError(`drives.add: path ${drive.path} is not absolute`, "use what ctx.stage returns")
    const { kernel } = prepared.spec
    const all = parseSpec(
      { kernel, drives: [...drives, drive] },
      { path: prepared.loaded.source.path, text: "" },
    ).drives
    drives.splice(0, drives.length, ...all)
  }
  return { ...around, signal, stage: stageApi(stage.root, open), drives: { add } }
}

/** Runs a preBoot hook with what ends its right to add anything when it is done, well or not. */
export async function whileOpen<T>(hook: (over: AbortSignal) => T): Promise<Awaited<T>> {
  const over = new AbortController()
  try {
    return await hook(over.signal)
  } finally {
    const hint = "await what you stage, in preBoot itself"
    over.abort(new Failure("FAILED", "preBoot is over: nothing can be staged and no drive added any more", { hint }))
  }
}

// --- internal ---

/** Staging for hooks. When its time is up, or it is done, a hook can stage no more: the VM goes on, or away, without it. */
function stageApi(root: StageRoot, signal: AbortSignal): Stage {
  return {
    async write(name, content) {
      signal.throwIfAborted()
      return stageWrite(root, name, typeof content === "string" ? new TextEncoder().encode(content) : content).host
    },
    async copy(name, source) {
      signal.throwIfAborted()
      return (await stageCopy(root, name, source, { signal })).host
    },
    async link(name, source) {
      signal.throwIfAborted()
      return stageLink(root, name, source).host
    },
  }
}
