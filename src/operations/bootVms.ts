import { availableParallelism } from "node:os"
import { join } from "node:path"
import { close } from "../base/linux/files.ts"
import { Failure, joinFailures, messageOf } from "../base/terms/failure.ts"
import { type Log, prefixed } from "../base/terms/log.ts"
import { takeLock } from "../store/files/lock.ts"
import { listStops } from "../store/state/notes.ts"
import type { State } from "../store/state/open.ts"
import { listRecords, type VmRecord } from "../store/state/records.ts"
import { type Interrupts, sayingAtOnce, watchInterrupts } from "../supervisor/hooks/interrupts.ts"
import { recoverAll } from "../supervisor/recover.ts"
import { bootOrder } from "./bootOrder.ts"
import { detachRun } from "./detach.ts"
import { slotsOf } from "./end/slots.ts"
import { afterOf, startedAgain } from "./end/startedAgain.ts"
import { rerunArgv } from "./restart.ts"
import { livingNamed } from "./run/takeUp.ts"

/**
 * After a boot of the host: finishes what that has ended (postStop hooks once), then starts again, in the background and as many
 * at a time as there are processors, the VMs whose restart policy says so: each when those that it is `after` run, or have failed.
 * One process at a time does this. A signal ends it: what is starting goes on, nothing more is started, and the next call starts what
 * is left. Returns what failed, told already; one failure stops no other.
 */
export async function bootVms(state: State, log: Log): Promise<Failure | undefined> {
  using interrupts = watchInterrupts(sayingAtOnce(log))
  const { stop } = interrupts
  using _turn = await takeTurn(state, interrupts, log)
  const found = await recoverAll(state, log, stop)
  const failures = found.flatMap(({ id, why, is }) =>
    is === "failed" || is === "unknown" ? [new Failure("FAILED", `${id}: ${why}`, { subject: id })] : [],
  )
  for (const { message } of failures) log.error(message)
  const again = startedAgain(listRecords(state.db), listStops(state.db))
  const { places, dropped } = bootOrder(again.map((vm) => ({ vm, name: vm.name, after: afterOf(vm) })))
  for (const { name, after } of dropped)
    log.warn(`${name} is to start after ${after}, which itself waits for ${name}: ${name} does not wait`)
  const slots = slotsOf(availableParallelism())
  const started = new Map<string, Promise<void>>()
  let left = 0
  const start = async (vm: VmRecord) => {
    using _slot = await slots.take()
    // Signals are heard between two VMs.
    await Bun.sleep(0)
    if (stop.aborted) return void left++
    const failure = await startOne(state, vm, { log, stop })
    if (failure !== undefined) failures.push(failure)
  }
  for (const { vm, waitsFor } of places)
    started.set(
      vm.name,
      Promise.all(waitsFor.map((name) => started.get(name))).then(() => start(vm)),
    )
  await Promise.all(started.values())
  if (stop.aborted) return interrupted(interrupts, log, left)
  return failures.length > 1 ? joinFailures(`${failures.length} VMs`, failures) : failures[0]
}

// --- internal ---

/** How often to look whether another process is done with booting, in milliseconds. */
const TURN_POLL_MS = 100

/** Waits until no other process starts VMs again: its VMs run then, and none is started twice. */
async function takeTurn({ where }: State, { stop, exitCode }: Interrupts, log: Log): Promise<Disposable> {
  const path = join(where.state, "boot.lock")
  for (let told = false; ; told = true) {
    const fd = takeLock(path)
    if (fd !== undefined) return { [Symbol.dispose]: () => close(fd) }
    if (!told) log.info("another banger system boot is at work: waiting for its end")
    if (stop.aborted)
      throw new Failure("INTERRUPTED", "interrupted: another banger system boot still works", { exit: exitCode() })
    await Bun.sleep(TURN_POLL_MS)
  }
}

/** Starts one VM again, unless one of its name runs by now. Returns why that failed, told already. */
async function startOne(
  state: State,
  record: VmRecord,
  { log, stop }: { readonly log: Log; readonly stop: AbortSignal },
): Promise<Failure | undefined> {
  const { name } = record
  const said = prefixed(log, name)
  // Somebody else starts it, or has: it is not for this boot to say how that went.
  const living = () => livingNamed(state, name)
  try {
    const before = living()
    if (before !== undefined) return void said.info(`is ${before.state} already (${before.id})`)
    const words = rerunArgv(record)
    const vm = await detachRun(log.json === undefined ? words : ["--json", ...words], said.info, stop)
    if (vm === "left") return undefined
    if (typeof vm !== "number") return void said.info(`runs again (${vm.id})`)
    if (living() !== undefined) return undefined
    throw new Failure("START_FAILED", `${name} was not started again (exit code ${vm})`, { subject: name })
  } catch (error) {
    said.error(messageOf(error))
    return new Failure("START_FAILED", messageOf(error), { subject: name, cause: error })
  }
}

function interrupted(interrupts: Interrupts, log: Log, left: number): Failure {
  const hint = "what is to run and does not is started by the next: banger system boot"
  const message = `interrupted: ${left} ${left === 1 ? "VM was" : "VMs were"} not started`
  log.error(`${message}\n${hint}`)
  return new Failure("INTERRUPTED", message, { exit: interrupts.exitCode(), hint })
}
