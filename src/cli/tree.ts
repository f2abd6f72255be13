import { type Command, command } from "./terminal/command.ts"

/** Every command, each loaded only when it runs or its help is shown. With those that begin with `__` banger starts itself. */
export const root: Command = command({
  meta: { name: "banger", description: "Runs microVMs from a TypeScript file and leaves nothing behind" },
  args: { version: { type: "boolean", alias: "V", description: "Print the version" } },
  subCommands: {
    run: lazy(() => import("./commands/run.ts")),
    ps: lazy(() => import("./commands/ps.ts")),
    logs: lazy(() => import("./commands/logs.ts")),
    attach: lazy(() => import("./commands/attach.ts")),
    stop: lazy(() => import("./commands/stop.ts")),
    kill: lazy(() => import("./commands/kill.ts")),
    restart: lazy(() => import("./commands/restart.ts")),
    rm: lazy(() => import("./commands/rm.ts")),
    forget: lazy(() => import("./commands/forget.ts")),
    wait: lazy(() => import("./commands/wait.ts")),
    inspect: lazy(() => import("./commands/inspect.ts")),
    events: lazy(() => import("./commands/events.ts")),
    supervise: lazy(() => import("./commands/supervise.ts")),
    doctor: lazy(() => import("./commands/doctor.ts")),
    get: lazy(() => import("./commands/get.ts")),
    update: lazy(() => import("./commands/update.ts")),
    complete: lazy(() => import("./commands/complete.ts")),
    disk: lazy(() => import("./commands/disk.ts")),
    net: lazy(() => import("./commands/net.ts")),
    set: lazy(() => import("./commands/set.ts")),
    snapshot: lazy(() => import("./commands/snapshot.ts")),
    sweep: lazy(() => import("./commands/sweep.ts")),
    system: lazy(() => import("./commands/system.ts")),
    init: lazy(() => import("./commands/init.ts")),
    help: lazy(() => import("./commands/help.ts")),
    version: lazy(() => import("./commands/version.ts")),
    __run: lazy(() => import("./commands/detachedRun.ts")),
    __supervise: lazy(() => import("./commands/detachedSupervise.ts")),
    __wake: lazy(() => import("./commands/wake.ts")),
    __recover: lazy(() => import("./commands/recoverOne.ts")),
    __helper: lazy(() => import("./commands/helper.ts")),
    __kvm: lazy(() => import("./commands/probeKvm.ts")),
  },
})

// --- internal ---

/** The command that a module has as its default export. */
function lazy(module: () => Promise<{ readonly default: Command }>): () => Promise<Command> {
  return async () => (await module()).default
}
