import { SUN_PATH_MAX } from "../../base/linux/structs.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { HostPath, JailPath } from "../../base/terms/path.ts"

/** The variable that moves a socket's directory. */
export type SocketVariable = "BANGER_RUNTIME_DIR" | "BANGER_STATE_DIR"

/** Throws a failure when a program of this host could not bind, or connect to, a socket by its path. */
export function requireHostSocket(path: HostPath, variable: SocketVariable): void {
  requireFits(path, variable)
}

/** Throws a failure when a VMM could not bind a socket by the path that it sees. */
export function requireJailSocket(path: JailPath, variable: SocketVariable): void {
  requireFits(path, variable)
}

// --- internal ---

function requireFits(path: string, variable: SocketVariable): void {
  const length = Buffer.byteLength(path)
  if (length <= SUN_PATH_MAX) return
  const hint = `set ${variable} to a shorter directory`
  throw new Failure("BAD_CONFIG", `the socket path ${path} has ${length} bytes; ${SUN_PATH_MAX} is the most`, {
    hint,
    subject: path,
  })
}
