/** Messages for the user, on standard error; how they look is the caller's. */
export interface Report {
  debug(message: string): void
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

/** The same messages with a prefix. */
export function prefixed(report: Report, prefix: string): Report {
  return {
    debug: (message) => report.debug(`${prefix}: ${message}`),
    info: (message) => report.info(`${prefix}: ${message}`),
    warn: (message) => report.warn(`${prefix}: ${message}`),
    error: (message) => report.error(`${prefix}: ${message}`),
  }
}
