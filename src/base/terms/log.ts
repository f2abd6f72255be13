/** Messages for the user, on standard error; how they look is the caller's. */
export interface Log {
  /** With --json, where each is a line of JSON: the descriptors of those who must write JSON by themselves. */
  readonly json?: { readonly stdout: number; readonly stderr: number } | undefined
  debug(message: string): void
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

/** The same messages with a prefix. */
export function prefixed(log: Log, prefix: string): Log {
  return {
    json: log.json,
    debug: (message) => log.debug(`${prefix}: ${message}`),
    info: (message) => log.info(`${prefix}: ${message}`),
    warn: (message) => log.warn(`${prefix}: ${message}`),
    error: (message) => log.error(`${prefix}: ${message}`),
  }
}
