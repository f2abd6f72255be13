import { existsSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { ensureState, ownEnvironment, ownPlaces } from "../../store/state/open.ts"

/** The file in a user's state that says that root's helper has run VMs for them: from then on it is asked for those as well. */
const SUDO_MARK = "sudo"

/** Whether root's helper may be asked at all: root has no need to, and who has moved the places means the VMs that are there. */
export function mayAsk(): boolean {
  const { BANGER_STATE_DIR, BANGER_RUNTIME_DIR } = ownEnvironment()
  return process.geteuid?.() !== 0 && !BANGER_STATE_DIR && !BANGER_RUNTIME_DIR
}

/** Notes that root's helper has VMs of this user's. */
export function noteSudoVms(): void {
  writeFileSync(join(ensureState(), SUDO_MARK), "", { mode: 0o600 })
}

/** Whether root's helper may have VMs of this user's: sudo is not asked by those who have none. */
export function hasSudoVms(): boolean {
  return mayAsk() && existsSync(join(ownPlaces().state, SUDO_MARK))
}
