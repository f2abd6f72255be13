import { closeSync, openSync, writeSync } from "node:fs"
import { O } from "../../base/linux/constants.ts"
import { readStart } from "../../base/linux/content.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { openNamed, withDescriptor } from "../../base/linux/files.ts"
import { Failure, failureJson } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { type During, isVmName, type Request, readDuring } from "../../inputs/helper/messages.ts"
import { refusedSetting } from "../../inputs/helper/refusedSettings.ts"
import { parseSpec } from "../../inputs/plugin/definition.ts"
import type { ResolvedPlugin } from "../../inputs/plugin/resolved.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import { isDisk } from "../../inputs/schema/vm.ts"
import { type PluginHost, startCodelessHost } from "../../supervisor/hooks/pluginHost.ts"
import { runPrepared } from "../run/run.ts"
import { type Caller, openSources, type Sources } from "./caller.ts"
import type { Channel } from "./channel.ts"
import { type RemoteHooks, remoteHooks } from "./remoteHooks.ts"

/** A console's bytes that the other side has not shown are at most so many: what comes then waits in the console's file. */
const UNSHOWN_MAX_BYTES = 256 * 1024
const CHUNK_BYTES = 32 * 1024

/**
 * Runs a VM for a caller, in root's own state, from start to end: this process supervises it, the caller's has the plugin's hooks. When
 * that one goes, the VM is stopped as by a hangup. Returns how it ended. Throws a failure when nothing was started.
 */
export async function runFor(
  caller: Caller,
  asked: Request<"run">,
  { channel, log: own, vmsMax }: { readonly channel: Channel; readonly log: Log; readonly vmsMax: number },
): Promise<unknown> {
  using sources = openSources(caller)
  const log = saying(own, sources)
  using host = startCodelessHost(log, ["SIGHUP", "SIGINT", "SIGQUIT"])
  const remote = remoteHooks(asked.hooks, { channel, sources })
  const shown = showing(channel)
  const keys = keyboard()
  void hear(channel, { host, remote, shown, keys })
  try {
    const plugin = resolve(asked, { hooks: remote.hooks, sources })
    const result = await runPrepared(host, plugin, {
      ...{ plugin: asked.plugin, args: asked.args, name: undefined, vmm: undefined, timeout: undefined },
      ...{ plan: false, restore: undefined, trace: undefined, supervisor: "foreground", logFile: undefined },
      keepOnFailure: asked.keepOnFailure === true,
      replace: asked.replace === true,
      owner: { uid: caller.uid, vmsMax },
      log,
      onConsole: asked.console === true ? shown.sink : undefined,
      connectConsole(fifo) {
        channel.say({ is: "running" })
        return keys.connect(fifo)
      },
      onBooted: (vm) => channel.say({ is: "booted", vm: { ...vm } }),
    })
    return ended(result, sources)
  } catch (error) {
    throw asCalled(error, sources)
  }
}

// --- internal ---

/** Checks what a caller asks for as a plugin's own words are checked, and opens every file that it names as the caller. */
function resolve(
  { plugin: path, sha256, spec: written }: Request<"run">,
  { hooks, sources }: { readonly hooks: RemoteHooks["hooks"]; readonly sources: Sources },
): ResolvedPlugin {
  const source = { path, text: "" }
  const { name } = written
  if (!isVmName(name))
    throw new Failure("BAD_PLUGIN", "name: a VM that is asked for by sudo has one", { subject: "name" })
  const spec = parseSpec(written, source)
  const refused = refusedSetting(spec)
  if (refused !== undefined)
    throw new Failure("NEEDS_ROOT", `${refused.setting}: ${refused.why}`, { subject: refused.setting })
  const opened = { ...withSources(spec, sources), name }
  if (process.arch === "x64" && spec.vmm !== "qemu") requireElf(opened.kernel, spec.kernel)
  return { loaded: { source, spec: written, hooks, sha256 }, spec: opened, written }
}

/** Throws for a kernel that would have to be unpacked: to do that for a user, as root, is to run programs on whatever they bring. */
function requireElf(source: string, path: string): void {
  const start = withDescriptor(openNamed(source, O.RDONLY | O.NONBLOCK), (fd) => readStart(fd, 4))
  if (Buffer.from(start).toString("latin1") === "\x7fELF") return
  const detail = { hint: 'unpack it, or use vmm: "qemu"', subject: "kernel" }
  throw new Failure("BAD_FILE", `kernel: ${path} is no ELF file`, detail)
}

/** A spec in which the path of each file is one by which root opens what the caller may read. */
function withSources(spec: Spec, { take }: Sources): Spec {
  const { kernel, initrd, drives, firecracker } = spec
  const { pmem, ...rest } = firecracker
  return {
    ...spec,
    kernel: take("kernel", kernel),
    initrd: initrd === undefined ? undefined : take("initrd", initrd),
    drives: drives.map((drive, index) => {
      // No rule lets one through; were it so, its image would be opened as root.
      if (isDisk(drive)) throw new Error("a disk by name for a caller")
      return { ...drive, path: take(`drives[${index}].path`, drive.path) }
    }),
    firecracker: {
      ...rest,
      ...(pmem && {
        pmem: pmem.map((each, index) => ({ ...each, path: take(`firecracker.pmem[${index}].path`, each.path) })),
      }),
    },
  }
}

function saying(log: Log, { shown }: Sources): Log {
  const at = (level: "debug" | "info" | "warn" | "error") => (message: string) => log[level](shown(message))
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") }
}

function asCalled(error: unknown, { shown }: Sources): unknown {
  if (!(error instanceof Failure)) return error
  const { code, message, hint, subject, exit } = error
  return new Failure(code, shown(message), {
    ...{ subject: subject && shown(subject), exit, cause: error },
    hint: hint && shown(hint),
  })
}

function ended(result: Awaited<ReturnType<typeof runPrepared>>, sources: Sources): unknown {
  // Neither was asked for.
  if (result === "left" || "steps" in result) return undefined
  const { id, name, dir, exit, kept, interrupted, failure } = result
  const failed = failure && failureJson(asCalled(failure, sources))
  return { id, name, dir, exit, kept, ...(interrupted !== undefined && { interrupted }), ...failed }
}

interface Shown {
  readonly sink: (chunk: Uint8Array) => number
  /** Says that the other side has shown so many bytes. */
  done(bytes: number): void
}

/** Shows a console to the other side, as far as that keeps up. */
function showing(channel: Channel): Shown {
  let unshown = 0
  return {
    sink(chunk) {
      // Whoever has gone reads no more, and nothing waits for them.
      if (channel.over.aborted) return chunk.length
      const taken = Math.min(chunk.length, UNSHOWN_MAX_BYTES - unshown)
      for (let at = 0; at < taken; at += CHUNK_BYTES) {
        const part = chunk.subarray(at, Math.min(taken, at + CHUNK_BYTES))
        channel.say({ is: "data", bytes: Buffer.from(part).toString("base64") })
      }
      unshown += taken
      return taken
    },
    done(bytes) {
      unshown = Math.max(0, unshown - bytes)
    },
  }
}

interface Keyboard {
  connect(fifo: string): () => void
  /** Types into the guest's console, as far as it takes that. */
  type(keys: Uint8Array): void
}

/** What the other side types goes to a guest that reads it; what it does not take at once is lost, as of a serial line. */
function keyboard(): Keyboard {
  let fd: number | undefined
  return {
    connect(fifo) {
      const own = openSync(fifo, O.RDWR | O.NONBLOCK)
      fd = own
      return () => {
        fd = undefined
        closeSync(own)
      }
    },
    type(keys) {
      if (fd === undefined) return
      try {
        writeSync(fd, keys)
      } catch (error) {
        if (errorCode(error) !== "EAGAIN") throw error
      }
    },
  }
}

interface Hearing {
  readonly host: PluginHost
  readonly remote: RemoteHooks
  readonly shown: Shown
  readonly keys: Keyboard
}

/** Hears the other side while its VM runs, until it goes or says what is no message: then the VM is stopped. */
async function hear(channel: Channel, hearing: Hearing): Promise<void> {
  const { log, interrupts } = hearing.host
  try {
    let last = 1
    for (let message = await channel.next(); message !== undefined; message = await channel.next()) {
      const during = readDuring(message)
      if (during === undefined || during.id <= last) throw new Failure("BAD_FILE", "no message for a VM that runs")
      last = during.id
      act(during, hearing)
    }
  } catch (error) {
    log.error(error instanceof Error ? error.message : String(error))
  }
  // A second one would mean "at once".
  if (!interrupts.stop.aborted) interrupts.press("SIGHUP")
}

function act(message: During, { host, remote, shown, keys }: Hearing): void {
  if (message.verb === "interrupt") host.interrupts.press(message.signal)
  else if (message.verb === "keys") keys.type(Buffer.from(message.keys, "base64"))
  else if (message.verb === "shown") shown.done(message.bytes)
  else remote.hear(message)
}
