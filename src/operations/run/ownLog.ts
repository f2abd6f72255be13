import { messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { renameFile } from "../../store/files/replaceFile.ts"
import { type Follower, follow } from "../../store/logs/boundedFile.ts"
import type { VmLayout } from "../../store/state/places.ts"
import { VMM_LOG_MAX_BYTES } from "../../vm/machine.ts"

/** What this process says goes to the log of the VM that it watches, which is kept below a limit. */
export function takeLog(path: string, { supervisorLog }: VmLayout, log: Log): Follower | undefined {
  try {
    renameFile(path, supervisorLog)
  } catch (error) {
    // Somebody has removed the VM before this one, and the log with it: this VM is run all the same.
    log.warn(`what its supervisor says is lost: ${messageOf(error)}`)
    return undefined
  }
  return follow(supervisorLog, {
    limitBytes: VMM_LOG_MAX_BYTES,
    onTrouble: (what) => log.warn(`${supervisorLog}: ${what}`),
  })
}
