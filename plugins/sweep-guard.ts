import { basename, dirname } from "node:path"
import { definePlugin } from "banger"

// Keeps the sockets of services that run or start, as a process supervisor says, even when nothing is bound to them just now:
// banger sweep --plugin sweep-guard.ts /run/services
//
// SUPERVISOR is a command that prints JSON: a list of { name, status }, or an object that has such values under their names.
const command = (process.env.SUPERVISOR ?? "pm2 jlist").split(" ")
const UP = ["online", "running", "active", "starting", "launching", "activating", "reloading"]

interface Service {
  readonly name?: string
  readonly status?: string
  /** pm2 has the status here. */
  readonly pm2_env?: { readonly status?: string }
}

let running: Promise<ReadonlySet<string>> | undefined

export default definePlugin({
  timeouts: { sweepCandidate: "10s" },

  // A service's socket is called after the service (web.sock), or is in a directory that is (web/rpc.sock).
  async sweepCandidate(ctx) {
    running ??= ask(ctx.signal)
    const services = await running
    const names = [basename(ctx.path).replace(/\.[^.]*$/, ""), basename(dirname(ctx.path))]
    const name = names.find((each) => services.has(each))
    if (name === undefined) return undefined
    ctx.log.debug(`${ctx.path} belongs to ${name}, which runs`)
    return "keep"
  },
})

/** Throws when the supervisor does not answer; then the sweep keeps every socket. */
async function ask(signal: AbortSignal): Promise<ReadonlySet<string>> {
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "inherit", signal })
  const text = await child.stdout.text()
  if ((await child.exited) !== 0) throw new Error(`${command.join(" ")} exited with ${child.exitCode}`)
  const answer: unknown = JSON.parse(text)
  if (typeof answer !== "object" || answer === null) throw new Error(`${command.join(" ")} printed no list`)
  const services = Object.entries(answer as Record<string, Service>)
  return new Set(
    services
      .filter(([, service]) => UP.includes(service.status ?? service.pm2_env?.status ?? ""))
      .map(([key, service]) => service.name ?? key),
  )
}
