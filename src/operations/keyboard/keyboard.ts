import { O } from "../../base/linux/constants.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { close, openAt } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { ignoredOf, SIGTSTP, stopHere } from "../../base/linux/signals.ts"
import { inForeground, rawSettings, setTerminal, type Termios, terminalSettings } from "../../base/linux/terminal.ts"

const STDIN = 0

/**
 * A shell tells nobody that it has given the terminal to a job that runs already: a job in the background asks for it once in so many
 * milliseconds.
 */
const FOREGROUND_LOOK_MS = 200

/**
 * Has `onKeys` get what is typed at the terminal on standard input, key by key, as long as this process is in the foreground there: also
 * when it gets there later, and again after it was stopped. While it is stopped or in the background the terminal is as it was, its keys
 * are others', and nothing is read. Returns what ends that and gives the terminal back; one that has gone by then is no error.
 */
export function connectKeyboard(onKeys: (keys: Uint8Array) => void): () => void {
  let settings: { readonly theirs: Termios; readonly raw: Termios } | undefined
  let stopReading: (() => void) | undefined
  let looking: Timer | undefined
  const take = () => {
    const now = terminalSettings(STDIN)
    // It has gone.
    if (now === undefined) return clearInterval(looking)
    if (!inForeground(STDIN)) {
      leave()
      looking ??= setInterval(take, FOREGROUND_LOOK_MS).unref()
      return
    }
    clearInterval(looking)
    looking = undefined
    // A shell may have left it raw, or given a job its own settings again; what else was set meanwhile is somebody's wish.
    const theirs = settings !== undefined && isSame(now, settings.raw) ? settings.theirs : now
    settings = { theirs, raw: rawSettings(theirs) }
    setTerminal(STDIN, settings.raw)
    stopReading ??= readKeys(onKeys)
  }
  const giveBack = () => stopReading && settings && setTerminal(STDIN, settings.theirs)
  const leave = () => {
    stopReading?.()
    stopReading = undefined
  }
  const onStop = () => {
    giveBack()
    process.off("SIGTSTP", onStop)
    stopHere()
    process.on("SIGTSTP", onStop)
    take()
  }
  const mayStop = ignoredOf([SIGTSTP]).length === 0
  if (mayStop) process.on("SIGTSTP", onStop)
  process.on("SIGCONT", take)
  take()
  return () => {
    process.off("SIGCONT", take)
    if (mayStop) process.off("SIGTSTP", onStop)
    clearInterval(looking)
    giveBack()
    leave()
  }
}

// --- internal ---

/**
 * Reads the terminal until the returned function is called. Not by `process.stdin`, which reads on while it is paused: it would take keys
 * from those in the foreground, and be stopped for that.
 */
function readKeys(onKeys: (keys: Uint8Array) => void): () => void {
  const fd = openKeys()
  const reader = Bun.file(fd).stream().getReader()
  const all = async () => {
    for (;;) {
      const { value, done } = await reader.read()
      if (done) return
      onKeys(value)
    }
  }
  // A terminal that went away says so to whoever reads it; the VM needs none.
  all().catch(() => {})
  return () => {
    const closing = () => fd !== STDIN && close(fd)
    reader.cancel().then(closing, closing)
  }
}

/** A descriptor of one's own, which does not wait: the shell's, which it would share, must. */
function openKeys(): number {
  const flags = O.RDONLY | O.NONBLOCK | O.NOCTTY
  const open = (path: string) => unlessAbsent(() => openAt(AT_FDCWD, path, flags), ["EACCES", "ENXIO", "ENOENT"])
  // After su(1) the terminal's file is another user's.
  return open(`/proc/self/fd/${STDIN}`) ?? open("/dev/tty") ?? STDIN
}

function isSame(one: Termios, other: Termios): boolean {
  return Buffer.compare(one, other) === 0
}
