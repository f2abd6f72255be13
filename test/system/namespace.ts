import { readlinkSync } from "node:fs"

/**
 * Throws unless this process has a mount and a network namespace other than those scripts/test was started in: a failing
 * test must not hurt the host.
 */
export function requireOwnNamespaces(): void {
  const [mount, network] = (process.env.BANGER_TEST_HOST_NAMESPACES ?? "").split(" ")
  const shared = !mount || !network || mount === namespaceOf("mnt") || network === namespaceOf("net")
  if (shared) throw new Error("system tests run in namespaces of their own: ./scripts/test test/system")
}

function namespaceOf(kind: string): string {
  return readlinkSync(`/proc/self/ns/${kind}`)
}
