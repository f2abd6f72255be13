import { jailRoot } from "../jail/base.ts"
import type { FoundVmm } from "../process/findVmm.ts"
import { cannotTell } from "../process/holders.ts"
import type { Sought } from "../process/sought.ts"
import type { Resource } from "../state/handles.ts"
import type { VmLayout } from "../state/places.ts"
import { Failure } from "../terms/failure.ts"
import { API_SOCKET, bareArgv } from "../vmm/firecrackerArgv.ts"

/**
 * What a VM's journal says of its VMM, for `findVmm`; undefined when none was about to be started. `bootId` is of the boot
 * it was started in, as its record has it. Pure.
 */
export function soughtVmm(resources: readonly Resource[], layout: VmLayout, bootId?: string): Sought | undefined {
  const process = find(resources, "process")
  if (process === undefined) return undefined
  const jail = find(resources, "jail")
  const { id, jails, runtime } = layout
  return {
    ...{ identity: process.identity, pidNamespace: process.pidNamespace, bootId, console: layout.consoleLog },
    ...{ cgroup: find(resources, "cgroup")?.path, socket: API_SOCKET },
    ...(jail === undefined
      ? {
          bare: {
            directory: runtime,
            commandLines: [bareArgv("", id, `${runtime}/`, layout.firecrackerLog).slice(1), ["-name", id]],
          },
        }
      : // The jailer's pidfile is named after the program, as the directory of its jails is.
        {
          jail: { path: jailRoot({ base: jails, vmm: jail.vmm, id }), root: jail.root },
          pidfile: `${jail.vmm}.pid`,
        }),
  }
}

/** The failure of a VM of which it could not be found out whether it runs. */
export function unknownVmm(
  { identity }: Sought,
  { why, hint }: Extract<FoundVmm, { is: "unknown" }>,
  { id }: VmLayout,
): Failure {
  if (identity !== null) return cannotTell(identity.pid, why, { hint })
  return new Failure(why.startsWith("cannot tell") ? why : `cannot tell whether ${id} runs: ${why}`, { hint })
}

// --- internal ---

function find<K extends Resource["kind"]>(resources: readonly Resource[], kind: K) {
  return resources.find((resource): resource is Extract<Resource, { kind: K }> => resource.kind === kind)
}
