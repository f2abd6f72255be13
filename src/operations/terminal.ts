import { closeSync, openSync, writeSync } from "node:fs"
import { O } from "../base/linux/constants.ts"
import { errorCode } from "../base/linux/errors.ts"
import { inForeground } from "../base/linux/terminal.ts"

const STDIN = 0
const CTRL_C = 3

/** A terminal that went says so to whoever reads it; the VM needs none. */
const ignore = () => {}

/**
 * Connects the user's terminal to a guest's serial console: keys go to the FIFO as they are typed, except Ctrl-C. Does
 * nothing where standard input is no terminal, or one that others have while this process is in the background. Returns
 * what gives the terminal back; a terminal that has gone by then is no error.
 */
export function connectTerminal(fifo: string, onInterrupt: () => void): () => void {
  const { stdin } = process
  if (!stdin.isTTY || !inForeground(STDIN)) return () => {}
  const fd = openSync(fifo, O.RDWR | O.NONBLOCK)
  const onKeys = (keys: Uint8Array) => {
    if (keys.includes(CTRL_C)) onInterrupt()
    const rest = keys.filter((key) => key !== CTRL_C)
    if (rest.length > 0) writeKeys(fd, rest)
  }
  stdin.setRawMode(true)
  stdin.on("data", onKeys)
  stdin.on("error", ignore)
  stdin.resume()
  return () => {
    stdin.off("data", onKeys)
    stdin.pause()
    closeSync(fd)
    try {
      if (inForeground(STDIN)) stdin.setRawMode(false)
    } catch {
      // Nobody can be left with a terminal in raw mode that is not there.
    }
  }
}

function writeKeys(fd: number, keys: Uint8Array): void {
  try {
    writeSync(fd, keys)
  } catch (error) {
    // The guest has not read 64 KiB of keys: like a serial line without flow control, the rest is lost.
    if (errorCode(error) !== "EAGAIN") throw error
  }
}
