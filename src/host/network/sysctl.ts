import { readFileSync, writeFileSync } from "node:fs"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"

/** A setting of this network namespace (`/proc/sys/net/…`); undefined where the kernel lacks it. */
export function readSetting(name: string): string | undefined {
  return unlessAbsent(() => readFileSync(`/proc/sys/net/${name}`, "latin1").trim())
}

/** Changes a setting that has another value. Where the kernel lacks it (no IPv6), there is nothing to do. */
export function writeSetting(name: string, value: string): void {
  const path = `/proc/sys/net/${name}`
  try {
    if (readSetting(name) === value) return
    writeFileSync(path, value)
  } catch (error) {
    if (errorCode(error) === "ENOENT") return
    const hint = hintFor(name, value, errorCode(error))
    const code = ["EACCES", "EPERM"].includes(errorCode(error) ?? "") ? "NEEDS_ROOT" : "HOST_LACKS"
    const message = `${path} cannot be set to ${value}: ${messageOf(error)}`
    throw new Failure(code, message, { hint, subject: path, cause: error })
  }
}

/**
 * Keeps a guest from changing this host's routes through an interface of ours: the host accepts no router advertisement
 * and no redirect there, and has no IPv6 address there unless `ipv6` asks for one.
 */
export function hardenInterface(name: string, ipv6: boolean): void {
  writeSetting(`ipv6/conf/${name}/accept_ra`, "0")
  writeSetting(`ipv6/conf/${name}/disable_ipv6`, ipv6 ? "0" : "1")
  writeSetting(`ipv4/conf/${name}/accept_redirects`, "0")
  writeSetting(`ipv6/conf/${name}/accept_redirects`, "0")
}

// --- internal ---

/** What makes a setting writable, or sets it, then and there; a setting of an interface that is not there by then is its default. Pure. */
function hintFor(name: string, value: string, code: string | undefined): string {
  const whose = name.replace(/^(ipv[46]\/conf)\/(?!all\/|default\/)[^/]+\//, "$1/default/")
  const container = `a container gets it when it is started: --sysctl net.${whose.replaceAll("/", ".")}=${value}`
  if (code === "EROFS")
    return `mount -o remount,bind,rw /proc/sys makes it writable; where that is refused, ${container}`
  return `run banger as root of the host, or of the container's own network; ${container}`
}
