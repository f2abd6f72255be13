import { givenEnvironment } from "../../base/linux/environment.ts"
import { nameProcess } from "../../base/linux/processName.ts"
import { managerOf, thisProcess } from "../../host/systemd/manager.ts"
import type { Service } from "../../host/systemd/service.ts"
import type { VmState } from "../../store/state/vmState.ts"
import type { Watchdog } from "./watchdog.ts"

/** This process as a service of systemd's, where it is the main process of one. */
export async function ownService(): Promise<Service | undefined> {
  const manager = managerOf(givenEnvironment(), thisProcess())
  if (manager === undefined) return undefined
  const { startService } = await import("../../host/systemd/service.ts")
  nameProcess("banger")
  return startService(manager)
}

/** Has a service manager know how long the thread may be held, as the watching thread does. */
export function toldTo(service: Service, watchdog: Watchdog): Watchdog {
  return {
    ...watchdog,
    guard: (what, limit, work) => service.allow(limit, () => watchdog.guard(what, limit, work)),
    guardFrom: (what, limit, work) => service.allow(limit, () => watchdog.guardFrom(what, limit, work)),
    allow: (what, limit, work) => service.allow(limit, () => watchdog.allow(what, limit, work)),
  }
}

/** What tells the state of a VM to a service manager, where there is one. */
export function stateTeller(
  service: Service | undefined,
  { id, name }: { readonly id: string; readonly name: string },
): ((state: VmState) => void) | undefined {
  return service && ((state) => service.status(`${name}: ${state} (${id})`))
}
