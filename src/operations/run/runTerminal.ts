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
