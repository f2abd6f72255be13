import type { HookName } from "../plugin/definition.ts"
import { inOrder } from "../plugin/hooks.ts"
import { loadedFiles } from "../plugin/imports.ts"
import { trustOf } from "../plugin/trust.ts"
import { NameTaken } from "../state/records.ts"
import type { Prepared } from "./prepare.ts"
import type { RunRequest } from "./runRequest.ts"
import { createSession, ownEnvironment, type Session, type State, type VmRequest } from "./session.ts"

/** Gives the VM its record. One of that name whose banger was killed, and that is dead, is finished first. */
export async function claim(
  state: State,
  request: RunRequest,
  prepared: Prepared,
  vmm: string,
  id: string,
): Promise<Session> {
  const count = (name: HookName) => inOrder(prepared.loaded, name).length
  const asked = {
    args: [...request.args],
    postStop: count("postStop"),
    supervised: request.supervisor !== "none",
    ...askerOf(),
  }
  try {
    return createSession(prepared, vmm, id, state, asked)
  } catch (error) {
    if (!(error instanceof NameTaken)) throw error
    const { finishNamed } = await import("./recover.ts")
    await finishNamed(state, prepared.spec.name, request.report)
    return createSession(prepared, vmm, id, state, asked)
  }
}

// --- internal ---

/** Who ran banger as root, by sudo: what runs then may be theirs. */
function askerOf(): Pick<VmRequest, "asker"> {
  const [, uid] = trustOf(process.geteuid?.() ?? 0, ownEnvironment().SUDO_UID).uids ?? []
  return uid === undefined ? {} : { asker: { uid, files: [...loadedFiles()] } }
}
