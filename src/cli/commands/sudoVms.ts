import * as v from "valibot"
import { asFailure, type Failure, isFailure, joinFailures } from "../../base/terms/failure.ts"
import type { Asked } from "../../operations/sudo/askOnce.ts"
import { hasSudoVms } from "../../operations/sudo/sudoMark.ts"
import { openStateToLook } from "../../store/state/open.ts"
import { findRecord } from "../../store/state/records.ts"
import { type VmStatus, vmStatusSchema } from "../../vm/status.ts"
import type { Invocation } from "../terminal/command.ts"
import type { Output } from "../terminal/output.ts"
import { versionText } from "../terminal/version.ts"
import { type EachVm, forEachVm } from "./forEach.ts"

/** The VMs that root's helper has for this user; none, with a warning, where it cannot be asked. */
export async function sudoVms(all: boolean, { log }: Output): Promise<readonly VmStatus[]> {
  if (!hasSudoVms()) return []
  try {
    const value = await asked({ verb: "list", all }, { log, data() {} })
    return v.parse(v.array(vmStatusSchema), value)
  } catch (error) {
    log.warn(`VMs that root runs for you are not among these: ${asFailure(error).message}`)
    return []
  }
}

/**
 * Asks root's helper about a VM that is none of this user's own state. Undefined where it is, or where the helper has none of that
 * name either: then the command goes on as ever, and says so. Throws what the helper failed with.
 */
export async function unlessOwn(
  word: string,
  request: Asked,
  { output, data = output.print }: { readonly output: Output; readonly data?: (bytes: Uint8Array) => unknown },
): Promise<{ readonly value: unknown } | undefined> {
  if (!hasSudoVms() || isOwn(word, output)) return undefined
  try {
    return { value: await asked(request, { log: output.log, data }) }
  } catch (error) {
    if (isFailure(error) && error.code === "NO_SUCH_VM") return undefined
    throw error
  }
}

/** As `forEachVm`, and what root's helper has for this user is done by `verb`, with its options in `more`. */
export async function forEachOfBoth(
  { vm, all }: { readonly vm?: string | undefined; readonly all?: boolean | undefined },
  invocation: Invocation,
  { verb, more = {}, ...each }: EachVm & { readonly verb: "stop" | "kill" | "rm"; readonly more?: object },
): Promise<Failure | undefined> {
  const { output } = invocation
  if (!hasSudoVms() || (vm === undefined && all !== true)) return await forEachVm({ vm, all }, invocation, each)
  const given = vm === undefined ? [] : [vm, ...invocation.more]
  const listed = all === true ? await sudoVms(verb === "rm", output) : []
  const theirs = all === true ? listed.filter((one) => isMeant(one, verb, more)).map(({ id }) => id) : given
  const left: string[] = []
  const failures: Failure[] = []
  for (const word of theirs) {
    const data = output.manner.json ? output.print : () => {}
    try {
      const done = await unlessOwn(word, { verb, vm: word, ...more } as Asked, { output, data })
      if (done === undefined) left.push(word)
    } catch (error) {
      const failure = asFailure(error)
      output.log.error(failure.hint === undefined ? failure.message : `${failure.message}\n${failure.hint}`)
      failures.push(failure)
    }
  }
  const [first, ...others] = left
  if (all === true || first !== undefined) {
    const own = await forEachVm({ vm: all === true ? undefined : first, all }, { ...invocation, more: others }, each)
    if (own !== undefined) failures.push(own)
  }
  return failures.length > 1 ? joinFailures(`${failures.length} VMs`, failures) : failures[0]
}

// --- internal ---

/** Loaded only where it is asked. */
async function asked(...what: [Asked, { readonly log: Output["log"]; readonly data: (bytes: Uint8Array) => unknown }]) {
  const { askOnce } = await import("../../operations/sudo/askOnce.ts")
  return await askOnce(versionText(), ...what)
}

function isOwn(word: string, { log }: Output): boolean {
  using state = openStateToLook(log.warn)
  try {
    findRecord(state.db, word)
    return true
  } catch (error) {
    // One that is ambiguous is this user's own affair as well.
    return !isFailure(error) || error.code !== "NO_SUCH_VM"
  }
}

/** `rm --all` without `--force` is of those that have ended. */
function isMeant({ state, restartAtMs }: VmStatus, verb: string, more: object): boolean {
  return verb !== "rm" || "force" in more || ((state === "stopped" || state === "failed") && restartAtMs === null)
}
