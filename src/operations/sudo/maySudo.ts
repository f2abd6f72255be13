import { Failure, isFailure } from "../../base/terms/failure.ts"
import { refusedSetting } from "../../inputs/helper/refusedSettings.ts"
import type { ResolvedPlugin } from "../../inputs/plugin/resolved.ts"
import { readConfig } from "../../store/state/config.ts"
import { ownPlaces } from "../../store/state/open.ts"
import { removeLog } from "../detach.ts"
import type { RunElsewhere } from "../run/run.ts"
import type { RunRequest } from "../run/runRequest.ts"
import { startHelper } from "./helperProcess.ts"
import { runBySudo } from "./runBySudo.ts"
import { mayAsk, noteSudoVms } from "./sudoMark.ts"

/**
 * Where this user's VM needs what only root has, a jail or a tap, and they may sudo without a password, has it run by root's helper of
 * this `build`. Where that cannot be, says in one line what the VM goes without.
 */
export function bySudo(build: string): RunElsewhere {
  return async (host, request, plugin) => {
    if (!needsRoot(request, plugin)) return undefined
    const { name, network } = plugin.spec
    const without = (why: string) => {
      request.log.info(`${name} has no jail, and its VMM can reach all that you can: ${why}`)
      return undefined
    }
    const refused = notBySudo(request, plugin)
    const tapped = network !== false && network.mode !== "user"
    if (refused !== undefined) {
      if (!tapped) return without(`${refused.setting} is not to be had by sudo`)
      const hint = "run banger as root"
      throw new Failure("NEEDS_ROOT", `${refused.setting}: ${refused.why}`, { hint, subject: refused.setting })
    }
    host.interrupts.stop.throwIfAborted()
    if (readConfig(ownPlaces().config).sudo === false) return without("config.toml says not to ask sudo")
    const helper = await startHelper(build)
    if ("unavailable" in helper) return without(helper.unavailable)
    let here = false
    try {
      host.interrupts.stop.throwIfAborted()
      noteSudoVms()
      return await runBySudo(host, plugin, { request, helper })
    } catch (error) {
      here = !tapped && isRefusedVmm(error)
      if (!here) throw error
      return without(error instanceof Error ? error.message : String(error))
    } finally {
      helper[Symbol.dispose]()
      // It has become no VM's: the VM's directory is root's.
      if (!here && request.logFile !== undefined) removeLog(request.logFile)
    }
  }
}

// --- internal ---

/** Whether root has no VMM for this VM: which it would take, only its helper can tell. Nothing was begun. */
function isRefusedVmm(error: unknown): boolean {
  return isFailure(error) && error.code === "NEEDS_ROOT" && error.subject === "vmm"
}

function needsRoot({ plan, supervisor }: RunRequest, { spec }: ResolvedPlugin): boolean {
  if (!mayAsk() || plan || supervisor === "none" || spec.jail === false) return false
  // The network that is there for users without rights.
  return spec.jail !== undefined || spec.network === false || spec.network.mode !== "user"
}

function notBySudo({ restore, trace }: RunRequest, { spec }: ResolvedPlugin) {
  const option = restore !== undefined ? "--restore" : trace !== undefined ? "--trace" : undefined
  if (option !== undefined) return { setting: option, why: "it is not to be had by sudo" }
  return refusedSetting(spec)
}
