import { Failure, joinFailures } from "../../base/terms/failure.ts"
import { jsonText } from "../../base/terms/message.ts"
import { forwardSignals } from "../../host/process/forwardSignals.ts"
import { runSelf } from "../../host/process/runSelf.ts"
import { selfArgv } from "../../host/process/self.ts"
import { ownEnvironment } from "../../store/state/environment.ts"
import type { Done } from "../show/documents.ts"
import type { Invocation } from "../terminal/command.ts"

/**
 * Does the same to each VM that a command was given, in their order; one failure does not stop the others, a signal does.
 * A plugin is loaded once in a process, so of many each gets a process of its own. Returns what failed, told already.
 */
export async function forEachVm(
  first: string,
  { path, more, options, output }: Invocation,
  work: (vm: string) => Promise<{ readonly id: string; readonly name: string }>,
): Promise<Failure | undefined> {
  const vms = [...new Set([first, ...more])]
  if (vms.length === 1) {
    const { id, name } = await work(first)
    // A line: of many VMs each process prints its own.
    if (output.manner.json) output.print(jsonText({ id, name } satisfies Done))
    return undefined
  }
  const words = [...path.slice(1), ...options.filter((word) => word !== "--json")]
  const { log } = output
  const failures = await eachInTurn(vms, (vm, onStart) =>
    output.manner.json
      ? runSelf([...words, vm], { log, stdout: log.json?.stdout, onStart })
      : runBeside([...words, vm], onStart),
  )
  return failures.length > 1 ? joinFailures(`${failures.length} of ${vms.length} VMs`, failures) : failures[0]
}

// --- internal ---

interface Child {
  kill(signal: NodeJS.Signals): void
}

/** Runs a process for each VM and passes signals on to it; after one, no other is started. */
async function eachInTurn(
  vms: readonly string[],
  run: (vm: string, onStart: (child: Child) => void) => Promise<Failure | undefined>,
): Promise<readonly Failure[]> {
  let current: Child | undefined
  let interrupted = false
  using _forwarding = forwardSignals((name) => {
    interrupted = true
    current?.kill(name)
  })
  const failures: Failure[] = []
  for (const vm of vms) {
    const failure = await run(vm, (child) => {
      current = child
    })
    if (failure !== undefined) failures.push(failure)
    if (interrupted) break
  }
  return failures
}

/** Another banger that says by itself, where this one does, what there is to say. */
async function runBeside(words: readonly string[], onStart: (child: Child) => void): Promise<Failure | undefined> {
  // In a session of its own, so that a Ctrl-C reaches it once: a second signal would be taken for impatience.
  const child = Bun.spawn([...selfArgv(), ...words], {
    stdio: ["ignore", "inherit", "inherit"],
    detached: true,
    env: ownEnvironment(),
  })
  onStart(child)
  await child.exited
  const exit = child.exitCode ?? 1
  // FAILED: its code is in words that people have read. Its exit status is all that is left to pass on.
  return exit === 0 ? undefined : new Failure("FAILED", `${words.join(" ")} ended with ${exit}`, { exit })
}
