import { readFileSync, writeFileSync } from "node:fs"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"

/** A setting of this network namespace (`/proc/sys/net/…`), or undefined where the kernel has none such. */
export function readSetting(name: string): string | undefined {
  return unlessAbsent(() => readFileSync(`/proc/sys/net/${name}`, "latin1").trim())
}

/** Changes a setting unless it is so already. Where the kernel has none such (no IPv6), nothing is to be done. */
export function writeSetting(name: string, value: string): void {
  const path = `/proc/sys/net/${name}`
  try {
    if (readSetting(name) === value) return
    writeFileSync(path, value)
  } catch (error) {
    if (errorCode(error) === "ENOENT") return
    const hint = `run this where /proc/sys can be written, or before: sysctl -w net.${name.replaceAll("/", ".")}=${value}`
    throw new Failure("FAILED", `${path} cannot be set to ${value}: ${messageOf(error)}`, { hint, cause: error })
  }
}

/**
 * What a guest could do to this host by IPv6 and by ICMP through an interface of ours: nothing of it is wanted. The
 * host takes no router's advertisement and no redirect from it, and has no IPv6 address there unless it is asked for.
 */
export function hardenInterface(name: string, ipv6: boolean): void {
  writeSetting(`ipv6/conf/${name}/accept_ra`, "0")
  writeSetting(`ipv6/conf/${name}/disable_ipv6`, ipv6 ? "0" : "1")
  writeSetting(`ipv4/conf/${name}/accept_redirects`, "0")
  writeSetting(`ipv6/conf/${name}/accept_redirects`, "0")
}
