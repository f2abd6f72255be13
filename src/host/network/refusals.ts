import { readFileSync } from "node:fs"
import { errorCode } from "../../base/linux/errors.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import type { Lease } from "../../store/state/leases.ts"
import { nftProgram } from "./nft.ts"
import { needsRules } from "./rules.ts"

/** The way to do without. */
const WITHOUT = 'or use network: "user", which needs no privilege (QEMU only)'

/** An error of the kernel about a network device as a failure that says what to do. */
export function explained(error: unknown, what: string): Failure {
  if (error instanceof Failure) return error
  const message = `${what}: ${messageOf(error)}`
  const code = errorCode(error)
  if (code === "EPERM" || code === "EACCES") {
    const hint = `this needs CAP_NET_ADMIN: run banger as root, in a container with --cap-add NET_ADMIN; ${WITHOUT}`
    return new Failure("NEEDS_ROOT", message, { hint, cause: error })
  }
  if (code === "EOPNOTSUPP") {
    const hint = "the kernel has no support for it: load its module (modprobe bridge, veth, tun)"
    return new Failure("HOST_LACKS", message, { hint, cause: error })
  }
  // The kernel refuses for reasons that have no code in common.
  return new Failure("FAILED", message, { cause: error })
}

/** The failure of a host whose /dev/net/tun is missing, or closed to this user. */
export function withoutTun(error: unknown): Failure {
  const missing = ["ENOENT", "ENODEV", "ENXIO"].includes(errorCode(error) ?? "")
  const hint = missing
    ? `load its driver (modprobe tun); in a container: --device /dev/net/tun; ${WITHOUT}`
    : `its mode is usually 0666 (chmod 0666 /dev/net/tun); in a container: --device /dev/net/tun; ${WITHOUT}`
  const message = `no tap can be made: ${messageOf(error)}`
  return new Failure(missing ? "HOST_LACKS" : "NEEDS_ROOT", message, { hint, subject: "/dev/net/tun", cause: error })
}

/** The failure of an interface that was just made and cannot be found. */
export function wentAway(what: string): Failure {
  const hint = "something removes interfaces as they are made: look for it, then start the VM again"
  return new Failure("CHANGED", `${what} went away while it was made`, { hint })
}

/** The failure of an interface that was removed and can be found. */
export function stillThere(what: string, name: string): Failure {
  return new Failure("NOT_RELEASED", `${what} is still there`, { hint: `ip link show ${name}`, subject: name })
}

/** Throws a failure when this user cannot make a tap with these rules on this host. Nothing is made. */
export function requireTapRights(rules: Pick<Lease, "nat" | "isolate" | "ports">, root: boolean): void {
  if (!root) {
    const hint = 'run banger as root, or use network: "user", which needs no privilege (QEMU only)'
    throw refused("only root can make a tap and a bridge (CAP_NET_ADMIN)", hint)
  }
  if (!mayChangeNetwork()) {
    const hint = 'in a container: --cap-add NET_ADMIN; or use network: "user" (QEMU only)'
    throw refused("this root is without CAP_NET_ADMIN, which a tap, a bridge and rules need", hint)
  }
  if (needsRules(rules)) nftProgram()
}

// --- internal ---

function refused(words: string, hint: string): Failure {
  return new Failure("NEEDS_ROOT", `network: ${words}`, { hint, subject: "network" })
}

/** capabilities(7). */
const CAP_NET_ADMIN = 12n

/** Reads the effective capabilities of this process; where they cannot be read, the kernel will refuse or not. */
function mayChangeNetwork(): boolean {
  const [, hex] = /^CapEff:\t([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1")) ?? []
  return hex === undefined || ((BigInt(`0x${hex}`) >> CAP_NET_ADMIN) & 1n) === 1n
}
