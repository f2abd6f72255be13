import { dirname } from "node:path"
import { ignoring } from "../../base/linux/errors.ts"
import { withDescriptor } from "../../base/linux/files.ts"
import type { HostPath } from "../../base/terms/path.ts"
import { socketOf, VSOCK } from "../../host/firecracker/argv.ts"
import { jailRoot } from "../../host/jail/base.ts"
import { type SocketAccess, setSocketAccess } from "../../host/sockets/access.ts"
import { awaitSocket, openSocketDirectory } from "../../host/sockets/awaitSocket.ts"
import { requireHostSocket, requireJailSocket } from "../../host/vmm/socketPaths.ts"
import type { Boot, Chosen } from "../../host/vmm/vmm.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import type { VmLayout } from "../../store/state/places.ts"

/** What decides where a VM's sockets are. */
export interface SocketNeeds {
  readonly layout: VmLayout
  readonly jailed: boolean
  readonly firecracker: Spec["firecracker"]
}

/**
 * Throws a failure when a socket's path would be too long, before anything is made. What the VMM binds is measured as the
 * VMM sees it; what is reached by its path from this host (a VMM's own control socket is reached by descriptor) as this
 * host sees it.
 */
export function requireSocketPaths({ vmm, program }: Chosen, { layout, jailed, firecracker }: SocketNeeds): void {
  const root = jailed ? jailRoot({ base: layout.jails, vmm: vmm.jailName(program), id: layout.id }) : undefined
  const variable = jailed ? "BANGER_STATE_DIR" : "BANGER_RUNTIME_DIR"
  const control = vmm.control(layout, root)
  if (control.is === "passed") requireHostSocket(control.host, "BANGER_RUNTIME_DIR")
  else requireJailSocket(control.jail, variable)
  if (vmm.name !== "firecracker" || firecracker.vsock === undefined) return
  const vsock = socketOf(VSOCK, layout.runtime, root)
  requireJailSocket(vsock.jail, variable)
  requireHostSocket(vsock.host, variable)
}

/** Waits for a control socket that the VMM makes, and returns the descriptor (O_PATH) of that very socket. */
export function ownSocket(control: HostPath, boot: Boot, signal: AbortSignal): Promise<number> {
  return awaitSocket(control, accessOf(boot), signal)
}

/** Gives the vsock's socket the owner and mode of the control socket beside it; both are private from birth. */
export function closeVsock(control: HostPath, boot: Boot): void {
  withDescriptor(openSocketDirectory(dirname(control)), (dir) => {
    // ENOENT: a snapshot of a VM without a vsock.
    ignoring(["ENOENT"], () => setSocketAccess(dir, VSOCK, accessOf(boot)))
  })
}

// --- internal ---

function accessOf({ confinement }: Boot): SocketAccess {
  const own = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 }
  const { uid, gid } = confinement ?? own
  return { uid, gid, mode: 0o600 }
}
