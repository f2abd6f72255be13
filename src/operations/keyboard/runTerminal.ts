import { fstatSync } from "node:fs"
import { hasInput } from "../../base/linux/poll.ts"
import type { PluginHost } from "../../supervisor/hooks/pluginHost.ts"
import { connectInput } from "./consoleInput.ts"

const CTRL_C = 3

/**
 * Connects the terminal of a run, where there is one, to its guest's console: every key goes to the guest but Ctrl-C, which asks
 * the run to end. With `interactive` other standard input is connected too: its end is not told to the guest, whose serial
 * console has none. Returns what disconnects it.
 */
export function connectTerminal(
  to: Parameters<typeof connectInput>[0],
  { interrupts }: Pick<PluginHost, "interrupts">,
  interactive = false,
): () => void {
  const onTyped = (keys: Uint8Array) => {
    if (keys.includes(CTRL_C)) interrupts.press("SIGINT")
    return { keys: keys.filter((key) => key !== CTRL_C) }
  }
  return connectInput(to, { onTyped, terminalOnly: !interactive })
}

/** What standard input has for a guest that is not given it: a line that says so; undefined where there is nothing to tell. */
export function unreadInput(interactive = false): string | undefined {
  if (interactive || !hasUnread(STDIN)) return undefined
  return "the guest is not given standard input; to give it: banger run -i"
}

// --- internal ---

const STDIN = 0

/** Bytes of a pipe, a socket or a file: not of a terminal, which is connected, nor of a device as /dev/null. */
function hasUnread(fd: number): boolean {
  try {
    const stat = fstatSync(fd)
    if (stat.isFile()) return stat.size > 0
    return (stat.isFIFO() || stat.isSocket()) && hasInput(fd)
  } catch {
    // It was closed: there is none.
    return false
  }
}
