import { EXIT } from "../../base/terms/failure.ts"
import { selfArgv } from "../../host/process/self.ts"
import { ownEnvironment } from "../../store/state/open.ts"
import type { Invocation } from "../terminal/command.ts"

const FORWARDED = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const

/**
 * Does the same to each VM that a command was given, in their order; one failure does not stop the others, a signal does.
 * A plugin is loaded once in a process, so of many each gets a process of its own. Returns the exit status of the first that
 * failed.
 */
export async function forEachVm(
  first: string,
  { path, more, options }: Invocation,
  work: (vm: string) => Promise<void>,
): Promise<number> {
  const vms = [...new Set([first, ...more])]
  if (vms.length > 1) return eachApart([...path.slice(1), ...options], vms)
  await work(first)
  return EXIT.ok
}

// --- internal ---

async function eachApart(words: readonly string[], vms: readonly string[]): Promise<number> {
  let child: Bun.Subprocess | undefined
  let interrupted = false
  const forward = (name: NodeJS.Signals) => {
    interrupted = true
    child?.kill(name)
  }
  for (const name of FORWARDED) process.on(name, forward)
  let exit: number = EXIT.ok
  for (const vm of vms) {
    // In a session of its own, so that a Ctrl-C reaches it once: a second signal would be taken for impatience.
    child = Bun.spawn([...selfArgv(), ...words, vm], {
      stdio: ["ignore", "inherit", "inherit"],
      detached: true,
      env: ownEnvironment(),
    })
    await child.exited
    if (exit === EXIT.ok) exit = child.exitCode ?? EXIT.failed
    if (interrupted) break
  }
  for (const name of FORWARDED) process.off(name, forward)
  return exit
}
