/** The environment at the start. A plugin may change it later, and the watching thread would not see that. */
const env: Readonly<Record<string, string | undefined>> = { ...process.env }

/** For a banger that this one starts, or becomes: the environment as it was, before any plugin changed it. */
export function ownEnvironment(): Readonly<Record<string, string | undefined>> {
  return env
}
