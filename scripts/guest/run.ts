type Options = { cwd?: string; env?: Record<string, string>; stdin?: string }

/** Runs a command to its end, and returns what it printed. Throws an error with the command's own words when it fails. */
export function run(command: string[], { cwd = ".", env = {}, stdin = "" }: Options = {}): string {
  const done = Bun.spawnSync(command, {
    cwd,
    env: { ...process.env, ...env },
    stdin: Buffer.from(stdin),
    stderr: "pipe",
  })
  if (!done.success) {
    const words = done.stderr.toString().trim() || done.stdout.toString().trim()
    throw new Error(`\`${command.join(" ")}\` failed with exit code ${done.exitCode}: ${words}`)
  }
  return done.stdout.toString()
}
