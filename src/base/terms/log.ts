/** Messages for the user, on standard error; how they look is the caller's. */
export interface Log {
  /** Whether each is a line of JSON. Those who write to standard error by themselves do likewise. */
  readonly json?: boolean
  debug(message: string): void
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

/** The same messages with a prefix. */
export function prefixed(log: Log, prefix: string): Log {
  return {
    json: log.json === true,
    debug: (message) => log.debug(`${prefix}: ${message}`),
    info: (message) => log.info(`${prefix}: ${message}`),
    warn: (message) => log.warn(`${prefix}: ${message}`),
    error: (message) => log.error(`${prefix}: ${message}`),
  }
}
