/**
 * The reason that a line of QEMU's machine protocol gives for shutting down (its SHUTDOWN event); undefined for any other line. By
 * itself, for a program that must stay small. Pure.
 */
export function announcedBy(line: string): string | undefined {
  if (!line.includes("SHUTDOWN")) return undefined
  try {
    const { event, data } = JSON.parse(line)
    return event === "SHUTDOWN" && REASON.test(data?.reason) ? data.reason : undefined
  } catch {
    return undefined
  }
}

// --- internal ---

/** QEMU's words of ShutdownCause: "guest-shutdown". */
const REASON = /^[a-z][a-z-]{0,40}$/
