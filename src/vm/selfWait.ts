import { usageError } from "../base/terms/failure.ts"
import { ancestorsOf } from "../host/process/ancestors.ts"
import type { PidRef } from "../host/process/pidRef.ts"
import type { VmLayout } from "../store/state/places.ts"
import { lockHolder } from "./lock.ts"

/** A VM as it is named in a message. */
type Named = { readonly id: string; readonly name: string }

/**
 * Refuses, by name, what would wait for a VM whose supervisor itself waits for this process: a banger that one of its
 * hooks started.
 */
export function refuseSelfWait({ pid }: PidRef, { id, name }: Named): void {
  if (!ancestorsOf(process.pid).includes(pid)) return
  const hint = `return from the hook first; to end the VM, throw in postBoot, or send SIGTERM to process ${pid}`
  throw usageError(
    `${name} (${id}) cannot be waited for here: its supervisor (process ${pid}) started this command`,
    hint,
  )
}

/** As `refuseSelfWait`, for whoever may hold the VM's lock now. */
export function refuseIfSelfWait(layout: VmLayout, record: Named): void {
  using holder = lockHolder(layout)
  if (holder.is === "held") refuseSelfWait(holder.process, record)
}
