import { errorCode } from "../../base/linux/errors.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"

/** What can be done without any of this. */
const WITHOUT = 'or use network: "user", which needs no privilege (QEMU only)'

/** An error of the kernel about a network device, in words that say what to do. */
export function explained(error: unknown, what: string): Failure {
  if (error instanceof Failure) return error
  const code = errorCode(error)
  const hint =
    code === "EPERM" || code === "EACCES"
      ? `this needs CAP_NET_ADMIN: run banger as root, in a container with --cap-add NET_ADMIN; ${WITHOUT}`
      : code === "EOPNOTSUPP"
        ? "the kernel has no support for it: load its module (modprobe bridge, veth, tun)"
        : undefined
  return new Failure("FAILED", `${what}: ${messageOf(error)}`, { hint, cause: error })
}

/** /dev/net/tun is not there, or not for us. */
export function withoutTun(error: unknown): Failure {
  const code = errorCode(error)
  const hint =
    code === "ENOENT" || code === "ENODEV" || code === "ENXIO"
      ? `load its driver (modprobe tun); in a container: --device /dev/net/tun; ${WITHOUT}`
      : `its mode is 0666 mostly (chmod 0666 /dev/net/tun); in a container: --device /dev/net/tun; ${WITHOUT}`
  return new Failure("FAILED", `no tap can be made: ${messageOf(error)}`, { hint, cause: error })
}
