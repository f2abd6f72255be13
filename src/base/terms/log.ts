/** Messages for the user, on standard error; how they look is the caller's. */
export interface Log {
  debug(message: string): void
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

/** The same messages with a prefix. */
export function prefixed(log: Log, prefix: string): Log {
  return {
    debug: (message) => log.debug(`${prefix}: ${message}`),
    info: (message) => log.info(`${prefix}: ${message}`),
    warn: (message) => log.warn(`${prefix}: ${message}`),
    error: (message) => log.error(`${prefix}: ${message}`),
  }
}
