import { isAbsolute, resolve } from "node:path"
import type { Drive, Exit, Hooks, PostStopContext, PreBootContext, RunningContext, VmNetwork } from "banger"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { ASKED_HOOKS, type AskedHook, type CallName, type During, type SaidOf } from "../../inputs/helper/messages.ts"
import type { ResolvedPlugin } from "../../inputs/plugin/resolved.ts"
import type { PluginHost } from "../../supervisor/hooks/pluginHost.ts"
import { heedProcess, requireExitCode } from "../../supervisor/hooks/verdict.ts"
import { asFailed, type DistributiveOmit, type Helper } from "./helperProcess.ts"

/** The hooks of a plugin that this process has loaded, for a VM that root's helper runs. */
export interface HooksHere {
  /** Runs a hook, and answers when it is done. */
  run(asked: SaidOf<"hook">): void
  /** A hook is not waited for any more. */
  enough(said: SaidOf<"enough">): void
  /** What became of something that a hook has asked for. */
  settle(said: SaidOf<"answered" | "refused">): void
}

/** A part of a file goes at once, in bytes. */
const PART_BYTES = 32 * 1024

/** Which hooks each part of a plugin has; the parts keep their order. Pure. */
export function hookNames({ loaded }: Pick<ResolvedPlugin, "loaded">): AskedHook[][] {
  return loaded.hooks.map((hooks) => ASKED_HOOKS.filter((name) => hooks[name] !== undefined))
}

/** Runs hooks as root's helper asks for them. */
export function hooksHere(
  { watchdog }: Pick<PluginHost, "watchdog">,
  plugin: ResolvedPlugin,
  { helper, args, log }: { readonly helper: Helper; readonly args: readonly string[]; readonly log: Log },
): HooksHere {
  const running = new Map<number, AbortController>()
  const calls = new Map<number, PromiseWithResolvers<unknown>>()
  const send = (message: DistributiveOmit<During, "id">) => helper.send(message)
  const callsOf = (ask: number): Calls => {
    // One at a time, however many a hook begins at once.
    let last: Promise<unknown> = Promise.resolve()
    const begun: Promise<unknown>[] = []
    const call: Call = (name, more = {}) => {
      const next = last.then(() => {
        const waiting = Promise.withResolvers<unknown>()
        calls.set(send({ verb: "call", ask, call: name, ...more }), waiting)
        return waiting.promise
      })
      last = next.catch(() => {})
      return next
    }
    const begin: Calls["begin"] = (name, more) => {
      const next = call(name, more)
      next.catch(() => {})
      begun.push(next)
    }
    return { call, begin, done: () => Promise.all(begun) }
  }
  const work = async ({ ask, hook, part, ...data }: SaidOf<"hook">) => {
    const { timeouts } = plugin.spec
    const controller = new AbortController()
    running.set(ask, controller)
    try {
      const hooks = plugin.loaded.hooks[part]
      const own = callsOf(ask)
      const verdict: Verdict = { exitCode: data.exitCode }
      const context = contextOf({ ...data, args, log, verdict }, controller.signal, own)
      await watchdog.guard(hook, timeouts[hook] ?? timeouts.hook, async () => await callHook(hooks, hook, context))
      await own.done()
      if (hook === "postStop") heedProcess(verdict)
      send({ verb: "answer", ask, ...(hook === "postStop" && verdict) })
    } catch (error) {
      send({ verb: "answer", ask, error: messageOf(error).slice(0, ERROR_MAX_COUNT) })
    } finally {
      running.delete(ask)
    }
  }
  return {
    run: (asked) => void work(asked).catch((error: unknown) => log.debug(messageOf(error))),
    enough: ({ ask, why }) => running.get(ask)?.abort(new Failure("HOOK_FAILED", why)),
    settle(said) {
      const waiting = calls.get(said.call)
      calls.delete(said.call)
      if (said.is === "answered") waiting?.resolve(said.value)
      else waiting?.reject(asFailed(said.error))
    },
  }
}

// --- internal ---

/** A message of a hook's failure that has more characters is cut. */
const ERROR_MAX_COUNT = 8192

type CallFields = Omit<Extract<During, { verb: "call" }>, "id" | "verb" | "ask" | "call">
type Call = (call: CallName, more?: CallFields) => Promise<unknown>

/** What a hook asks the helper for. */
interface Calls {
  readonly call: Call
  /** As `call`, where the hook does not wait for it: it fails the hook. */
  begin(...what: Parameters<Call>): void
  /** Resolves when all that was begun is done. */
  done(): Promise<unknown>
}

type Context = PreBootContext & RunningContext & PostStopContext

/** What a postStop hook makes of the run. */
interface Verdict {
  reason?: string
  exitCode?: number | undefined
}

interface Given extends Pick<SaidOf<"hook">, "vm" | "dir" | "exit" | "again"> {
  readonly verdict: Verdict
  readonly args: readonly string[]
  readonly log: Log
}

function callHook(hooks: Hooks | undefined, hook: AskedHook, context: Context): unknown {
  return hooks?.[hook]?.(context)
}

/** What all hooks are given, together: each is typed to see its own part. */
function contextOf(
  { vm, dir, exit, again, args, log, verdict }: Given,
  signal: AbortSignal,
  { call, begin }: Calls,
): Context {
  const path = async (work: Promise<unknown>) => String(await work)
  const done = async (work: Promise<unknown>) => void (await work)
  const write = async (name: string, content: string | Uint8Array) => {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content
    let placed = ""
    for (let at = 0; at === 0 || at < bytes.length; at += PART_BYTES) {
      const part = Buffer.from(bytes.subarray(at, at + PART_BYTES)).toString("base64")
      placed = await path(call("stage.write", { name, part, last: at + PART_BYTES >= bytes.length }))
    }
    return placed
  }
  return {
    ...{ args, log, dir, signal, again: again === true },
    // The helper is root's, and says what it is.
    vm: { ...vm, network: vm.network as unknown as VmNetwork | undefined, pid: vm.pid },
    exit: exit as unknown as Exit,
    stage: {
      write,
      copy: async (name, source) =>
        path(call("stage.copy", { name, path: absolute("ctx.stage.copy", resolve(source)) })),
      link: () => Promise.reject(notBySudo("ctx.stage.link", "stage a copy")),
    },
    drives: {
      // Before the boot; while the VM runs it is a promise.
      add: ({ path: image, ...drive }: Drive & { id?: string; path: string }) => {
        const named = absolute("ctx.drives.add", image)
        if (vm.pid === undefined) return begin("drives.add", { path: named, with: drive })
        const { id: name = "", ...more } = drive
        return done(call("drives.plug", { name, path: named, with: more }))
      },
      replace: async (id: string, image: string) =>
        done(call("drives.replace", { name: id, path: absolute("ctx.drives.replace", image) })),
      update: (id: string, settings: object) => done(call("drives.update", { name: id, with: { ...settings } })),
      remove: (id: string) => done(call("drives.remove", { name: id })),
    } as unknown as Context["drives"],
    network: {
      update: (limits) => done(call("network.update", { with: { ...limits } })),
      add: () => Promise.reject(notBySudo("ctx.network.add", "ask root")),
      remove: () => Promise.reject(notBySudo("ctx.network.remove", "ask root")),
    },
    pause: () => done(call("pause")),
    resume: () => done(call("resume")),
    snapshot: () => Promise.reject(notBySudo("ctx.snapshot", "run the VM as root")),
    fail(reason) {
      verdict.reason ??= String(reason).slice(0, ERROR_MAX_COUNT)
    },
    get exitCode() {
      return verdict.exitCode
    },
    set exitCode(code) {
      verdict.exitCode = requireExitCode(code)
    },
    kept: [],
    keep: () => Promise.reject(notBySudo("ctx.keep", "give it back in postStop")),
  }
}

function absolute(what: string, path: unknown): string {
  if (typeof path === "string" && isAbsolute(path)) return path
  throw new Failure("BAD_PLUGIN", `${what}: path ${Bun.inspect(path)} is not absolute`, { subject: what })
}

function notBySudo(what: string, instead: string): Failure {
  const hint = `${instead}; or run banger as root`
  return new Failure("NEEDS_ROOT", `${what} is not to be had by sudo`, { hint, subject: what })
}
