import type { Drive, Hooks, PostStopContext, PreBootContext, RunningContext } from "banger"
import { Failure, failureJson, messageOf } from "../../base/terms/failure.ts"
import { shownText } from "../../base/terms/printable.ts"
import type { AskedHook, During, SaidOf } from "../../inputs/helper/messages.ts"
import type { Sources } from "./caller.ts"
import type { Channel } from "./channel.ts"

/** The hooks of a plugin that runs in the user's process. */
export interface RemoteHooks {
  /** What stands for them here: each asks the other side, and does meanwhile what it is asked to. */
  readonly hooks: readonly Hooks[]
  /** Takes an answer, or what a hook asks for; one that nobody waits for any more is let go. */
  hear(message: Extract<During, { verb: "answer" | "call" }>): void
}

/** The content of a file that a hook writes is kept here until it is whole: at most so many bytes. */
const CONTENT_MAX_BYTES = 16 * 1024 * 1024

/** It comes in so many parts at most: the user's banger sends 512 of 32 KiB. */
const PARTS_MAX_COUNT = 1024

/** Stands for the hooks of a plugin, whose parts have these. `sources`: by which what they name is opened. */
export function remoteHooks(
  parts: readonly (readonly AskedHook[])[],
  { channel, sources }: { readonly channel: Channel; readonly sources: Sources },
): RemoteHooks {
  let asks = 0
  let open: Open | undefined
  const ask = async (hook: AskedHook, part: number, context: AnyContext) => {
    // One that nobody waits for is not begun.
    context.signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const asked: Open = {
      ask: ++asks,
      hook,
      context,
      resolve,
      reject,
      content: { parts: [], bytes: 0 },
      staged: new Set(),
      busy: false,
    }
    open = asked
    const enough = () => {
      channel.say({ is: "enough", ask: asked.ask, why: messageOf(context.signal.reason) })
      reject(context.signal.reason)
    }
    const gone = () => reject(new Failure("HOOK_FAILED", "the process that runs it has gone", { subject: hook }))
    context.signal.addEventListener("abort", enough, { once: true })
    channel.over.addEventListener("abort", gone, { once: true })
    try {
      if (channel.over.aborted) gone()
      else channel.say({ is: "hook", ask: asked.ask, hook, part, ...dataOf(context) })
      await promise
    } finally {
      context.signal.removeEventListener("abort", enough)
      channel.over.removeEventListener("abort", gone)
      if (open === asked) open = undefined
    }
  }
  const hooks = parts.map((names, part): Hooks => {
    const has = (name: AskedHook) => names.includes(name)
    return {
      ...(has("preBoot") && { preBoot: (context: PreBootContext) => ask("preBoot", part, context) }),
      ...(has("postBoot") && { postBoot: (context: RunningContext) => ask("postBoot", part, context) }),
      ...(has("preStop") && { preStop: (context: RunningContext) => ask("preStop", part, context) }),
      ...(has("postStop") && {
        postStop: (context: PostStopContext) => ask("postStop", part, context),
      }),
    }
  })
  return {
    hooks,
    hear(message) {
      const now = open
      if (message.verb === "answer") {
        if (now?.ask !== message.ask) return
        decide(now.context, message)
        if (message.error === undefined) now.resolve()
        else now.reject(new Failure("HOOK_FAILED", shownText(message.error), { subject: now.hook }))
        return
      }
      const refused = (error: unknown) => {
        const { error: data } = failureJson(error)
        channel.say({ is: "refused", call: message.id, error: { ...data, message: sources.shown(data.message) } })
      }
      if (now?.ask !== message.ask) return refused(over(message.call))
      if (now.busy)
        return refused(new Failure("BUSY", `${message.call}: one call at a time`, { subject: message.call }))
      now.busy = true
      call(now, message, sources)
        .then(
          (value) => channel.say({ is: "answered", call: message.id, ...(value !== undefined && { value }) }),
          refused,
        )
        .finally(() => {
          now.busy = false
        })
    },
  }
}

// --- internal ---

type AnyContext = PreBootContext | RunningContext | PostStopContext
type Call = Extract<During, { verb: "call" }>

/** A hook that the other side runs now. */
interface Open {
  readonly ask: number
  readonly hook: AskedHook
  readonly context: AnyContext
  /** What it has written of a file so far. */
  readonly content: { parts: Uint8Array[]; bytes: number }
  /** Where what it has staged is. */
  readonly staged: Set<string>
  /** Whether what it has asked for is being done. */
  busy: boolean
  resolve(): void
  reject(error: unknown): void
}

function dataOf(context: AnyContext): Pick<SaidOf<"hook">, "vm" | "dir" | "exit" | "again" | "exitCode"> {
  const { vm, dir } = context
  const ended = "exit" in context ? endedOf(context) : {}
  const { id, name, vmm, vcpus, memoryMiB, consoleLog, pid, network } = vm
  const optional = { ...(pid !== undefined && { pid }), ...(network !== undefined && { network: { ...network } }) }
  return { vm: { id, name, vmm, vcpus, memoryMiB, consoleLog, ...optional }, dir, ...ended }
}

function endedOf({ exit, again, exitCode }: PostStopContext): Pick<SaidOf<"hook">, "exit" | "again" | "exitCode"> {
  return { exit: { ...exit }, again, ...(exitCode !== undefined && { exitCode }) }
}

/** What a postStop hook makes of the run. */
function decide(context: AnyContext, { reason, exitCode }: Extract<During, { verb: "answer" }>): void {
  if (!("fail" in context) || context.signal.aborted) return
  if (reason !== undefined) context.fail(shownText(reason))
  if (exitCode !== undefined) context.exitCode = exitCode
}

function over(what: string): Failure {
  return new Failure("HOOK_FAILED", `${what}: its hook is over`, { subject: what })
}

function needs(what: string): Failure {
  return new Failure("BAD_PLUGIN", `${what} is not complete`, { subject: what })
}

function refusedIn(what: string, hook: string): Failure {
  return new Failure("BAD_PLUGIN", `${hook} has no ${what}`, { subject: what })
}

async function call(open: Open, message: Call, sources: Sources): Promise<unknown> {
  const { context } = open
  if ("stage" in context) return staging({ ...open, context }, message, sources)
  if ("pause" in context) return running(context, message, sources)
  throw refusedIn(message.call, open.hook)
}

async function staging(
  open: Open & { readonly context: PreBootContext },
  message: Call,
  sources: Sources,
): Promise<unknown> {
  const { context } = open
  const { call: what, name, path, part, last } = message
  if (what === "stage.write") {
    if (name === undefined || part === undefined) throw needs(what)
    const bytes = Buffer.from(part, "base64")
    open.content.bytes += bytes.length
    // Each part takes memory beside its bytes, one without any too.
    if (open.content.bytes > CONTENT_MAX_BYTES || open.content.parts.length >= PARTS_MAX_COUNT) {
      Object.assign(open.content, { parts: [], bytes: 0 })
      throw new Failure("BAD_FILE", `${what}: more than 16 MiB, or 1024 parts: copy a file instead`, { subject: what })
    }
    open.content.parts.push(bytes)
    if (last !== true) return undefined
    const content = Buffer.concat(open.content.parts.splice(0))
    open.content.bytes = 0
    return noted(open, await context.stage.write(name, content))
  }
  if (what === "stage.copy") {
    if (name === undefined || path === undefined) throw needs(what)
    return noted(open, await sources.lend(what, path, (source) => context.stage.copy(name, source)))
  }
  if (what !== "drives.add") throw refusedIn(what, open.hook)
  if (path === undefined) throw needs(what)
  // Checked as a plugin's own words are, with the path that root opens in the place of the caller's.
  const drive = { ...message.with, path: open.staged.has(path) ? path : sources.take(what, path) } as unknown as Drive
  if ("stage" in drive)
    throw new Failure("BAD_PLUGIN", `${what}: by sudo each drive is a copy: leave stage out`, { subject: what })
  context.drives.add(drive)
  return undefined
}

async function running(context: RunningContext, message: Call, sources: Sources): Promise<unknown> {
  const { call: what, name = "", path } = message
  if (what === "pause") return await context.pause()
  if (what === "resume") return await context.resume()
  if (what === "drives.update") return await context.drives.update(name, message.with as never)
  if (what === "drives.remove") return await context.drives.remove(name)
  if (what === "network.update") return await context.network.update(message.with as never)
  if (what !== "drives.replace" && what !== "drives.plug") throw refusedIn(what, "a hook of a running VM")
  if (path === undefined) throw needs(what)
  const readonly = message.with?.readonly === true
  return await sources.lend(what, path, (image) =>
    what === "drives.replace"
      ? context.drives.replace(name, image)
      : context.drives.add({ id: name, path: image, readonly }),
  )
}

function noted({ staged }: Open, path: string): string {
  staged.add(path)
  return path
}
