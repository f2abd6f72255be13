import { Failure } from "../base/terms/failure.ts"
import { ancestorsOf } from "../host/process/ancestors.ts"
import type { PidRef } from "../host/process/pidRef.ts"
import type { VmLayout } from "../store/state/places.ts"
import { lockHolder } from "./lock.ts"

type Named = { readonly id: string; readonly name: string }

/**
 * Refuses to wait for a VM whose supervisor itself waits for this process, because one of its hooks started this banger.
 * Throws WRONG_STATE.
 */
export function refuseSelfWait({ pid }: PidRef, { id, name }: Named): void {
  if (!ancestorsOf(process.pid).includes(pid)) return
  const hint = `return from the hook first; to end the VM, throw in postBoot, or send SIGTERM to process ${pid}`
  const message = `${name} (${id}) cannot be waited for here: its supervisor (process ${pid}) started this command`
  throw new Failure("WRONG_STATE", message, { subject: id, hint })
}

/** As `refuseSelfWait`, of the process that has locked the VM, if one has. */
export function refuseIfSelfWait(layout: VmLayout, record: Named): void {
  using holder = lockHolder(layout)
  if (holder.is === "held") refuseSelfWait(holder.process, record)
}
