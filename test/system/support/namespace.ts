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

/** Lets this test's network namespace talk to itself: a new one has its loopback down. */
export function startLoopback(): void {
  requireOwnNamespaces()
  const up = Bun.spawnSync(["ip", "link", "set", "lo", "up"])
  if (!up.success) throw new Error(`the loopback interface cannot be set up: ${up.stderr}`)
}

function namespaceOf(kind: string): string {
  return readlinkSync(`/proc/self/ns/${kind}`)
}
