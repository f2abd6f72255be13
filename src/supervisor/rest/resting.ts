import { monotonicMs } from "../../base/linux/clock.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { statAt } from "../../base/linux/files.ts"
import { takeWrites, watchWrites } from "../../base/linux/inotify.ts"
import { pidfdExited, reapChild } from "../../base/linux/pidfd.ts"
import { awaitReadable } from "../../base/linux/poll.ts"
import { nameProcess } from "../../base/linux/processName.ts"
import { openSignalFd, takeSignals } from "../../base/linux/signals.ts"
import { answerWaiting, QUESTIONS_MAX_COUNT } from "../../host/dhcp/server.ts"
import { HALTED_TAIL_BYTES, saysHalted } from "../../host/firecracker/halted.ts"
import { keepDescriptorBelow, lastBytes } from "../../store/logs/keep.ts"
import { STOP_REQUEST } from "../../store/state/places.ts"
import { become } from "./become.ts"
import { takeHandover } from "./handover.ts"
import { type Heard, hearing } from "./hearing.ts"
import { ASKING, WAKING } from "./signals.ts"
import { packAnnounced, packRestarts, type Rest, unpackRest } from "./words.ts"

// The room rest: a supervisor whose plugin has nothing to do holds its VM in a program that does nothing but wait.
// The rule: pid, lock, children and signals stay the process's own from one program to the next.

/** After a write, the logs are looked at again so many milliseconds later: a flood costs ten looks a second. */
const LOOK_AGAIN_MS = 100

/** Where the kernel has no watch to give, the logs are looked at so often, in milliseconds. */
const POLL_MS = 5000

/**
 * Waits until the VM needs its supervisor: its VMM or its time has ended, its guest has powered off, or somebody asks this process
 * for something. Then the supervisor takes this program's place. Meanwhile the VM's logs are kept below their limits. Throws
 * when the words are none of `packRest`.
 */
export function restUntilNeeded(words: readonly string[]): never {
  const rest = unpackRest(words)
  if (rest === undefined) throw new Error("these words are none of a supervisor that rests")
  nameProcess(`banger: ${rest.name}`)
  const signals = openSignalFd(WAKING)
  // Asked before it was known that this process would rest.
  if (awaitReadable([signals], 0).length === 0 && isThere(rest.dir, STOP_REQUEST)) process.kill(process.pid, "SIGTERM")
  const heard = rest.events === undefined ? undefined : hearing(rest.events)
  if (heard !== undefined) heard.announced = rest.announced
  const handOver = () => handOverOf(rest, [...words, ...packAnnounced(heard?.announced)])
  waitUntilNeeded(rest, { signals, heard, asked: openSignalFd([ASKING]), handOver })
  heard?.take()
  const taken = awaitReadable([signals], 0).length > 0 ? takeSignals(signals) : []
  const status = pidfdExited(rest.vmm) ? reapChild(rest.vmm) : undefined
  return become(rest.name, {
    words: [
      ...["__wake", rest.id, `--lock=${rest.lock}`, `--restarts=${packRestarts(rest.restarts)}`],
      ...(rest.until === undefined ? [] : [`--until=${rest.until}`]),
      // Not left to wait: until the next program has all of its code, it may wait for events, when the kernel lets all signals through.
      ...(taken.length === 0 ? [] : [`--signals=${taken.join()}`]),
      ...(heard?.announced === undefined ? [] : [`--announced=${heard.announced}`]),
      ...(status === undefined ? [] : [`--status=${status}`]),
    ],
    fds: [rest.lock, ...rest.database],
  })
}

// --- internal ---

/** What is waited for beside the VM itself. */
interface Waiting {
  /** Signals that end the rest; that ask for another program in its place. */
  readonly signals: number
  readonly asked: number
  readonly heard: Heard | undefined
  handOver(): void
}

function waitUntilNeeded({ vmm, logs, until, events, dhcp }: Rest, { signals, asked, heard, handOver }: Waiting): void {
  const watch = watchOf(logs.map(({ fd }) => fd))
  const timeLeft = () => (until === undefined ? undefined : until - monotonicMs())
  const questions = questionsOf(dhcp)
  for (;;) {
    heard?.take()
    questions.answer()
    if (needsAttention(logs, events === undefined)) return
    const news = awaitReadable(
      [vmm, signals, asked, ...[watch, heard?.fd, questions.fd].filter((fd) => fd !== undefined)],
      watch === undefined ? least(timeLeft(), POLL_MS) : timeLeft(),
    )
    if (news.includes(vmm) || news.includes(signals)) return
    if ((timeLeft() ?? 1) <= 0) return
    if (news.includes(asked)) {
      takeSignals(asked)
      handOver()
    }
    if (awaitReadable([vmm, signals], least(timeLeft(), LOOK_AGAIN_MS)).length > 0) return
    if (watch !== undefined) takeWrites(watch)
  }
}

/** What the guest asks by DHCP. `fd`: undefined when nothing is answered any more. */
interface Questions {
  fd: number | undefined
  answer(): void
}

function questionsOf(dhcp: Rest["dhcp"]): Questions {
  let left = QUESTIONS_MAX_COUNT
  return {
    fd: dhcp?.fd,
    answer() {
      if (dhcp === undefined || this.fd === undefined) return
      left -= answerWaiting(this.fd, dhcp.lease)
      if (left <= 0) this.fd = undefined
    },
  }
}

/**
 * Keeps the logs below their limits. Whether the guest has powered off, where the VMM runs on then (`halts`), or a supervisor has to
 * tell that a log cannot be kept.
 */
function needsAttention(logs: Rest["logs"], halts: boolean): boolean {
  try {
    for (const { fd, limitBytes } of logs) keepDescriptorBelow(fd, limitBytes)
    const [console] = logs
    return halts && console !== undefined && saysHalted(lastBytes(console.fd, HALTED_TAIL_BYTES))
  } catch {
    // The supervisor runs into it as well, and says what it is.
    return true
  }
}

/**
 * Makes this process the rest of another banger, where that is asked for: with the same words, all that is held stays held. One
 * that the kernel refuses changes nothing; whoever has asked sees that this program goes on.
 */
function handOverOf({ lock, vmm, dir, events, dhcp, database, logs, name }: Rest, words: readonly string[]): void {
  const program = takeHandover(dir)
  if (program === undefined) return
  const others = [events, dhcp?.fd].filter((fd) => fd !== undefined)
  const held = [lock, vmm, dir, ...others, ...database, ...logs.map(({ fd }) => fd)]
  try {
    become(name, { words: ["__rest", ...words], fds: held, program })
  } catch {
    // It is said where it was asked for.
  }
}

function isThere(dir: number, name: string): boolean {
  return unlessAbsent(() => statAt(dir, name)) !== undefined
}

function least(a: number | undefined, b: number): number {
  return a === undefined ? b : Math.min(a, b)
}

function watchOf(fds: readonly number[]): number | undefined {
  try {
    return watchWrites(fds)
  } catch {
    // The host has no watch left to give: the logs are looked at from time to time.
    return undefined
  }
}
