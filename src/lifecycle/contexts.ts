import { isAbsolute, resolve } from "node:path"
import type { Drive, Exit, HookContext, PostStopContext, PreBootContext, Stage, Vm } from "banger"
import { type StageRoot, stageCopy, stageLink, stageWrite } from "../jail/stage.ts"
import { parseSpec } from "../plugin/definition.ts"
import { usage } from "../terms/failure.ts"
import type { Prepared, Surroundings } from "./prepare.ts"
import type { VmStage } from "./stageVm.ts"

/** What all hooks of one VM share. */
export interface VmSurroundings extends Surroundings {
  readonly vm: Vm
  readonly dir: string
}

/** The context of postBoot and preStop. */
export function hookContext(around: VmSurroundings, signal: AbortSignal): HookContext {
  return { ...around, signal }
}

/** The context of postStop. */
export function postStopContext(around: VmSurroundings, signal: AbortSignal, exit: Exit): PostStopContext {
  return { ...around, signal, exit }
}

/** The context of preBoot. A drive that a hook adds is checked with all before it, and appended to `drives`. */
export function preBootContext(
  around: VmSurroundings,
  signal: AbortSignal,
  prepared: Prepared,
  stage: VmStage,
  drives: Prepared["spec"]["drives"],
): PreBootContext {
  const add = (drive: Drive) => {
    signal.throwIfAborted()
    if (!isAbsolute(drive.path))
      throw usage(`drives.add: path ${drive.path} is not absolute`, "use what ctx.stage returns")
    const { kernel } = prepared.spec
    const all = parseSpec(
      { kernel, drives: [...drives, drive] },
      { path: prepared.loaded.source.path, text: "" },
    ).drives
    drives.splice(0, drives.length, ...all)
  }
  return { ...around, signal, stage: stageApi(stage.root, signal), drives: { add } }
}

// --- internal ---

/** Staging for hooks. After its time is up a hook can stage no more: the VM goes on, or away, without it. */
function stageApi(root: StageRoot, signal: AbortSignal): Stage {
  const seen = (name: string) => resolve(root.path, name)
  return {
    async write(name, content) {
      signal.throwIfAborted()
      stageWrite(root, name, typeof content === "string" ? new TextEncoder().encode(content) : content)
      return seen(name)
    },
    async copy(name, source) {
      signal.throwIfAborted()
      await stageCopy(root, name, source, signal)
      return seen(name)
    },
    async link(name, source) {
      signal.throwIfAborted()
      stageLink(root, name, source)
      return seen(name)
    },
  }
}
