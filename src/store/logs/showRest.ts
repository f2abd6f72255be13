import type { Follower } from "./boundedFile.ts"

/** How long to wait before the console's last bytes are offered again to a slow reader. */
const SLOW_READER_WAIT_MS = 20

/**
 * Shows what is left of a console whose writer has gone, and closes it. False when its reader has not taken all by the time that
 * it was enough.
 */
export async function showRest(console: Follower, enough: AbortSignal): Promise<boolean> {
  try {
    while (!console.drain()) {
      if (enough.aborted) return false
      await Bun.sleep(SLOW_READER_WAIT_MS)
    }
    return true
  } finally {
    console.close()
  }
}
