import { dirname } from "node:path"
import { ignoring } from "../../base/linux/errors.ts"
import { withDescriptor } from "../../base/linux/files.ts"
import { VSOCK } from "../../host/firecracker/requests.ts"
import { type SocketAccess, setSocketAccess } from "../../host/sockets/access.ts"
import type { Boot } from "../../host/vmm/vmm.ts"
import { awaitSocket, openSocketDirectory } from "./awaitSocket.ts"

/** Waits for a control socket that the VMM makes, and returns the descriptor (O_PATH) of that very socket. */
export function ownSocket(control: string, boot: Boot, signal: AbortSignal): Promise<number> {
  return awaitSocket(control, accessOf(boot), signal)
}

/** The vsock's socket, as private from birth as the control socket beside it, is given the same owner and mode. */
export function closeVsock(control: string, boot: Boot): void {
  withDescriptor(openSocketDirectory(dirname(control)), (dir) => {
    // ENOENT: a snapshot of a VM without one.
    ignoring(["ENOENT"], () => setSocketAccess(dir, VSOCK, accessOf(boot)))
  })
}

// --- internal ---

function accessOf({ confinement }: Boot): SocketAccess {
  const own = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 }
  const { uid, gid } = confinement ?? own
  return { uid, gid, mode: 0o600 }
}
