import { ownEnvironment } from "../../base/linux/environment.ts"
import { isFailure, messageOf } from "../../base/terms/failure.ts"
import type { HookName } from "../../inputs/plugin/definition.ts"
import { loadedFiles } from "../../inputs/plugin/imports.ts"
import { trustOf } from "../../inputs/plugin/trust.ts"
import type { State } from "../../store/state/open.ts"
import { getRecord, listRecords } from "../../store/state/records.ts"
import { disksOf } from "../../supervisor/boot/drives.ts"
import { inOrder } from "../../supervisor/hooks/callHook.ts"
import { noteFiles, type VmRequest } from "../../vm/request.ts"
import { createSession, type NewVm, type Session } from "../../vm/session.ts"
import { requireAdmitted } from "./admission.ts"
import type { ResolvedRun } from "./resolveRun.ts"

/**
 * Gives the VM its record. One whose banger was killed, and that is dead, is finished first when it has that name, the snapshot
 * that this one goes on from, or a disk that this one is to have.
 */
export async function createVm(
  state: State,
  { request, plugin, vmm, restore }: Pick<ResolvedRun, "request" | "plugin" | "vmm" | "restore">,
  { id, onState }: Pick<NewVm, "id" | "onState">,
): Promise<Session> {
  const { owner } = request
  const count = (name: HookName) => inOrder(plugin.loaded, name).length
  const { loaded, spec, written } = plugin
  const asked = {
    args: [...request.args],
    postStop: count("postStop"),
    supervised: request.supervisor !== "none",
    ...(onState !== undefined && { service: true }),
    ...askerOf(request),
    ...(owner !== undefined && { owner: owner.uid }),
  }
  const source = { path: loaded.source.path, sha256: loaded.sha256 }
  const claim = claimOf({ plugin, restore })
  const vm = {
    id,
    name: spec.name,
    vmm: vmm.name,
    plugin: source,
    spec: written,
    request: asked,
    restore: claim,
    disks: disksOf(spec.drives),
    admit: owner && (() => requireAdmitted(listRecords(state.db), spec.name, owner)),
    onState,
  }
  try {
    return createSession(state, vm)
  } catch (error) {
    if (!isFailure(error) || error.code !== "IN_USE") throw error
    // What is in the way may be another's, and its hooks are not to be run here.
    if (owner !== undefined) throw error
    const { finishNamed } = await import("../../supervisor/recover.ts")
    await finishNamed(state, [spec.name, error.subject], request.log)
    return createSession(state, vm)
  }
}

/** What a run goes on from. */
export function claimOf({ plugin, restore }: Pick<ResolvedRun, "plugin" | "restore">): NewVm["restore"] {
  return restore && { id: restore.id, dir: restore.dir, again: plugin.spec.unsafeClone }
}

/** Notes what the hooks of a plugin that root runs for a user have loaded by now: it may run when the VM is booted again. */
export function noteLoaded(state: State, id: string, { asker, log }: ResolvedRun["request"]): void {
  if (askerOf({ asker }).asker === undefined) return
  try {
    noteFiles(state, getRecord(state.db, id), loadedFiles())
  } catch (error) {
    log.warn(
      `what its hooks have loaded was not noted, and may be refused when it is booted again: ${messageOf(error)}`,
    )
  }
}

// --- internal ---

/** Who ran banger as root, by sudo, now or before: what runs then may be theirs. */
function askerOf({ asker }: Pick<ResolvedRun["request"], "asker">): Pick<VmRequest, "asker"> {
  const [, sudoer] = trustOf(process.geteuid?.() ?? 0, ownEnvironment().SUDO_UID).uids ?? []
  const uid = asker?.uid ?? sudoer
  return uid === undefined ? {} : { asker: { uid, files: [...loadedFiles()] } }
}
