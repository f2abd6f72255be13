/** What a service manager says to the one process that it started: sd_notify(3), sd_watchdog_enabled(3). The last is banger's own. */
const MANAGERS = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "BANGER_SERVICE"] as const

/** The environment at the start. A plugin may change it later, and the watching thread would not see that. */
const given: Record<string, string | undefined> = { ...process.env }

for (const name of MANAGERS) delete process.env[name]

const env: Record<string, string | undefined> = Object.fromEntries(
  Object.entries(given).filter(([name]) => !(MANAGERS as readonly string[]).includes(name)),
)

/**
 * For a banger that this one starts, or becomes: the environment as it was, before any plugin changed it, without what a service
 * manager says to this process alone.
 */
export function ownEnvironment(): Readonly<Record<string, string | undefined>> {
  return env
}

/** The environment at the start, with what a service manager says. */
export function givenEnvironment(): Readonly<Record<string, string | undefined>> {
  return given
}

/**
 * Has nothing of it be known any more but what process.env has by now, whoever has asked for it before: which modules are loaded at the
 * start, and in which order, is the bundler's.
 */
export function forgetEnvironment(): void {
  for (const known of [given, env]) {
    for (const name of Object.keys(known)) delete known[name]
    Object.assign(known, process.env)
  }
}
