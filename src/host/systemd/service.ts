import { sendDatagram } from "../../base/linux/datagram.ts"
import type { Manager } from "./manager.ts"

/** A service of systemd's that this process is the main process of (sd_notify(3)). It throws nothing, and never waits long. */
export interface Service extends Disposable {
  /** What `systemctl status` shows. */
  status(text: string): void
  /** It has started. */
  ready(text: string): void
  /** It ends from now on, and is given time as long as this process is well. */
  stopping(text: string): void
  /** While `work` is done, this process may be silent for `limitMs` milliseconds, and is well all the same. */
  allow<T>(limitMs: number, work: () => Promise<T>): Promise<T>
}

/** Speaks to a manager as this process, until it is disposed of: tells that it is well, where the manager wants to hear that. */
export function startService(manager: Manager, { send = sender(manager) }: ServiceOptions = {}): Service {
  const { watchdogUs } = manager
  const silences = new Set<{ readonly ms: number }>()
  let ends = false
  const longest = () => Math.max(0, ...[...silences].map(({ ms }) => ms + SPARE_MS))
  const patience = () => `WATCHDOG_USEC=${Math.max(watchdogUs ?? 0, longest() * 1000)}`
  const extension = () => `EXTEND_TIMEOUT_USEC=${Math.max(EXTENSION_MS, longest()) * 1000}`
  // Unref'ed: a supervisor with nothing to do is idle all the same (onceIdle).
  const every = (ms: number, work: () => void) => setInterval(work, Math.min(Math.max(ms, LEAST_MS), MOST_MS)).unref()
  const timers = watchdogUs === undefined ? [] : [every(watchdogUs / 2000, () => send(["WATCHDOG=1"], 0))]
  const told = () => [...(watchdogUs === undefined ? [] : [patience(), "WATCHDOG=1"]), ...(ends ? [extension()] : [])]
  return {
    status: (text) => send([`STATUS=${line(text)}`], 0),
    ready: (text) => send(["READY=1", `STATUS=${line(text)}`], PATIENCE_MS),
    stopping(text) {
      if (ends) return
      ends = true
      send(["STOPPING=1", `STATUS=${line(text)}`, extension()], PATIENCE_MS)
      timers.push(every(EXTENSION_MS / 3, () => send([extension()], 0)))
    },
    async allow(limitMs, work) {
      const silence = { ms: limitMs }
      silences.add(silence)
      send(told(), PATIENCE_MS)
      try {
        return await work()
      } finally {
        silences.delete(silence)
        send(told(), PATIENCE_MS)
      }
    },
    [Symbol.dispose]() {
      for (const timer of timers) clearInterval(timer)
    },
  }
}

// --- internal ---

/** How a service speaks, for tests. `send`: lines of one message, and the milliseconds to wait for a manager that is behind. */
interface ServiceOptions {
  readonly send?: (lines: readonly string[], patienceMs: number) => void
}

/** A manager that is behind is waited for so long, in milliseconds, with what it must hear. */
const PATIENCE_MS = 1000

/** While this process ends and is well, the manager waits for it so many milliseconds more, again and again. */
const EXTENSION_MS = 30_000

/** More than a limit, in milliseconds: what has run into one still has to be told. */
const SPARE_MS = 15_000

/** Bounds of a timer, in milliseconds, whatever the environment says. */
const LEAST_MS = 50
const MOST_MS = 2 ** 31 - 1

/** Of a text, so many characters are told. */
const STATUS_MAX_COUNT = 512

function line(text: string): string {
  return text
    .replace(/\p{Cc}+/gu, " ")
    .slice(0, STATUS_MAX_COUNT)
    .toWellFormed()
}

function sender({ socket }: Manager): NonNullable<ServiceOptions["send"]> {
  let heard = true
  return (lines, patienceMs) => {
    if (lines.length === 0) return
    try {
      sendDatagram(socket, new TextEncoder().encode(lines.join("\n")), heard ? patienceMs : 0)
      heard = true
    } catch {
      // Nobody is there, nobody reads, or it is no address: the VM runs all the same, and waits for it once.
      heard = false
    }
  }
}
