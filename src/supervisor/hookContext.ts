import { isAbsolute } from "node:path"
import type { Drive, Exit, Kept, PostStopContext, PreBootContext, RunningContext, Stage, Vm, VmNetwork } from "banger"
import { Failure } from "../base/terms/failure.ts"
import { type StageRoot, stageCopy, stageLink, stageWrite } from "../host/jail/stage.ts"
import type { Control } from "../host/vmm/vmm.ts"
import { parseSpec } from "../inputs/plugin/definition.ts"
import type { Spec } from "../inputs/schema/vm.ts"
import { openState } from "../store/state/open.ts"
import type { Machine } from "../vm/machine.ts"
import type { Session } from "../vm/session.ts"
import type { Surroundings } from "./boot/prepare.ts"
import type { DeviceChanges } from "./changes/deviceChanges.ts"
import { requireExitCode, type Verdict } from "./hooks/verdict.ts"
import { keeping, keptNow } from "./keep/keeping.ts"
import type { VmContext } from "./vmContext.ts"

/** What all hooks of one VM are given. */
export interface HookContext extends Surroundings {
  readonly vm: Vm
  readonly dir: string
  readonly kept: readonly Kept[]
}

/** What changes of a VM while it runs. */
interface Changing {
  readonly machine: Machine | undefined
  readonly network: VmNetwork | undefined
  readonly dir: string
}

/** What all hooks of a VM are given; what changes while it runs is read from `running` when it is asked for. */
export function hookContext({ plugin, session, vmm, log, args }: VmContext, running: Changing): HookContext {
  const { name, vcpus, memory } = plugin.spec
  const vm = {
    id: session.id,
    name,
    vmm: vmm.name,
    vcpus,
    memoryMiB: memory,
    consoleLog: session.layout.consoleLog,
    get pid() {
      return running.machine?.child.identity.pid
    },
    get network() {
      return running.network
    },
  }
  return {
    vm,
    args,
    log,
    get dir() {
      return running.dir
    },
    get kept() {
      return keptNow(session)
    },
  }
}

/** The VM that runs while a hook does. */
interface RunningNow {
  readonly control: Pick<Control, "pause" | "resume">
  readonly changes: DeviceChanges
  readonly session: Session
}

/** The context of postBoot and preStop. */
export function runningContext(
  shared: HookContext,
  { control, changes, session }: RunningNow,
  signal: AbortSignal,
): RunningContext {
  const unlessOver = (work: () => Promise<void>) => async () => {
    signal.throwIfAborted()
    await work()
  }
  const snapshot = async (dir: string, { base }: { base?: string | undefined } = {}) => {
    signal.throwIfAborted()
    for (const path of base === undefined ? [dir] : [dir, base])
      if (!isAbsolute(path))
        throw new Failure("BAD_PLUGIN", `ctx.snapshot: ${path} is not an absolute path`, { subject: path })
    await changes.alone(signal, async () => {
      using state = openState({ newer: "used" })
      const { snapshotVm } = await import("./snapshot/save.ts")
      await snapshotVm(state, shared.vm.id, { dir, base })
    })
  }
  const keep = keeping(session, AbortSignal.any([signal, changes.ended]))
  const halting = { pause: unlessOver(control.pause), resume: unlessOver(control.resume) }
  return { ...shared, signal, keep, snapshot, ...halting, ...changes.context(signal) }
}

/** The context of postStop. */
export function postStopContext(
  shared: HookContext,
  signal: AbortSignal,
  { verdict, ...ended }: { readonly exit: Exit; readonly again: boolean; readonly verdict: Verdict },
): PostStopContext {
  return {
    ...shared,
    signal,
    ...ended,
    // Getters of what is shared would be read by a spread.
    fail(reason) {
      signal.throwIfAborted()
      verdict.reason ??= String(reason)
    },
    get exitCode() {
      return verdict.exitCode
    },
    set exitCode(code) {
      signal.throwIfAborted()
      verdict.exitCode = requireExitCode(code)
    },
  }
}

/** What a preBoot hook may add to. */
interface PreBootOptions {
  readonly session: Session
  readonly spec: Spec
  readonly pluginPath: string
  readonly root: StageRoot
  /** The drives by now, to which those of the hook are appended. */
  readonly drives: Spec["drives"]
  /** Aborted when the hook is over. */
  readonly over: AbortSignal
}

/**
 * The context of preBoot. A drive that a hook adds is checked together with all before it. Once the hook is over, or its
 * time is, neither a file nor a drive can be added.
 */
export function preBootContext(
  shared: HookContext,
  signal: AbortSignal,
  { session, spec, pluginPath, root, drives, over }: PreBootOptions,
): PreBootContext {
  const open = AbortSignal.any([signal, over])
  const add = (drive: Drive) => {
    open.throwIfAborted()
    if ("persist" in drive || "size" in drive) {
      const detail = { hint: "name it in the plugin's own drives, or in what configure returns", subject: "persist" }
      throw new Failure("BAD_PLUGIN", "drives.add: a disk that persists cannot be added by a hook", detail)
    }
    if (!isAbsolute(drive.path)) {
      const detail = { hint: "use what ctx.stage returns", subject: drive.path }
      throw new Failure("BAD_PLUGIN", `drives.add: path ${drive.path} is not absolute`, detail)
    }
    const { kernel } = spec
    const all = parseSpec({ kernel, drives: [...drives, drive] }, { path: pluginPath, text: "" }).drives
    drives.splice(0, drives.length, ...all)
  }
  return { ...shared, signal, stage: stageApi(root, open), drives: { add }, keep: keeping(session, open) }
}

/** Runs a preBoot hook with what ends its right to add anything when it is done, well or not. */
export async function whileOpen<T>(hook: (over: AbortSignal) => T): Promise<Awaited<T>> {
  const over = new AbortController()
  try {
    return await hook(over.signal)
  } finally {
    const hint = "await what you stage, in preBoot itself"
    over.abort(
      new Failure("BAD_PLUGIN", "preBoot is over: nothing can be staged or kept and no drive added any more", { hint }),
    )
  }
}

// --- internal ---

/** Staging for hooks. A hook that is over, or whose time is up, can stage no more: the VM boots, or goes away, without it. */
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
