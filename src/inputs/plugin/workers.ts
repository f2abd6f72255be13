import { Failure } from "../../base/terms/failure.ts"

/**
 * Takes `Worker` from plugin code, for good: a worker has a runtime of its own, which would load modules without the trust
 * check. Threads that run already continue.
 */
export function denyWorkers(): void {
  function Worker(): never {
    const hint = "what a worker imports could not be checked: do the work in the hook, or in a process (Bun.spawn)"
    throw new Failure("UNTRUSTED", "a plugin run as root may not start a Worker", { hint })
  }
  // Not by an import here: that would hand node's own Worker to every later import.
  const threads = process.getBuiltinModule("node:worker_threads")
  for (const holder of [globalThis, threads])
    Object.defineProperty(holder, "Worker", { value: Worker, writable: false, configurable: false })
  process.getBuiltinModule("node:module").syncBuiltinESMExports()
}
