import { basename, dirname } from "node:path"
import { O, O_DIRECTORY } from "../../base/linux/constants.ts"
import { openAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import type { ControlSocket } from "../../host/vmm/vmm.ts"
import type { ProcessIdentity, Resource } from "../../store/state/handles.ts"
import type { VmLayout } from "../../store/state/places.ts"
import { openControlSocket, openJailRoot } from "../../vm/controlSocket.ts"
import { entryOf } from "../../vm/journal.ts"

/** A VM whose VMM runs. */
export interface ReachedVm {
  readonly layout: VmLayout
  readonly resources: readonly Resource[]
  /** Its VMM, proven to run. */
  readonly identity: ProcessIdentity
}

/**
 * Opens (O_PATH) the control socket that a running VMM has made, in its jail or its runtime directory, once it is proven
 * that this very process listens on it. The caller closes it; held longer than the VMM lives, it keeps the jail's mount busy.
 */
export function openVmmSocket(
  { layout, resources, identity }: ReachedVm,
  { host }: Pick<Extract<ControlSocket, { is: "own" }>, "host">,
): number {
  const jailed = entryOf(resources, "jail") !== undefined
  const dir = jailed ? openJailRoot(layout, resources) : openAt(AT_FDCWD, dirname(host), O.PATH | O_DIRECTORY)
  return withDescriptor(dir, () => openControlSocket(dir, basename(host), identity))
}
