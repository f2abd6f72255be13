import { statSync } from "node:fs"
import { dirname, resolve } from "node:path"
import type { ConfigureContext, SpecChanges } from "banger"
import { errorCode } from "../../base/linux/errors.ts"
import { Failure } from "../../base/terms/failure.ts"
import { imagePath } from "../../inputs/image/store.ts"
import { parseSpec } from "../../inputs/plugin/definition.ts"
import { LOAD_MAX_MS, type Loaded, loadPlugin } from "../../inputs/plugin/load.ts"
import { nameFromFile, type ResolvedPlugin } from "../../inputs/plugin/resolved.ts"
import type { Trust } from "../../inputs/plugin/trust.ts"
import { isDisk, type Spec } from "../../inputs/schema/vm.ts"
import { ownPlaces } from "../../store/state/open.ts"
import { inOrder, runHook } from "../hooks/callHook.ts"
import type { Interrupts } from "../hooks/interrupts.ts"
import type { Trace } from "../hooks/trace.ts"
import type { Watchdog } from "../hooks/watchdog.ts"

/** The prefix of an image's name. */
const GET = "get:"

/** What the command line changes of a spec. */
export interface Overrides {
  readonly name: string | undefined
  readonly vmm: string | undefined
}

/** What `configure` hooks get besides the signal. */
export type Surroundings = Omit<ConfigureContext, "signal">

/** What it takes to run plugin code before there is a VM. */
export interface Preparation {
  readonly surroundings: Surroundings
  readonly interrupts: Interrupts
  readonly trace: Trace
  readonly watchdog: Watchdog
  /** Whose code may run. */
  readonly trust: Trust
}

/**
 * Loads a plugin, runs its `configure` hooks, and checks what they made of the spec and the files it names. Throws a
 * failure; nothing needs to be undone.
 */
export async function prepare(file: string, overrides: Overrides, preparation: Preparation): Promise<ResolvedPlugin> {
  const { interrupts, trace, watchdog, trust } = preparation
  const loaded = await trace.span("load", () => {
    return watchdog.guardFrom("the plugin's top-level code", LOAD_MAX_MS, (beforeCode) => {
      return Promise.race([loadPlugin(file, trust, { beforeCode }), interrupted(interrupts.stop)])
    })
  })
  const given = { ...loaded.spec, ...defined(overrides) }
  const configured = await configure(loaded, given, preparation)
  const written = { ...configured, ...defined(overrides) }
  const spec = absolutePaths(parseSpec(written, loaded.source), loaded.source.path)
  checkFiles(spec)
  return { loaded, spec, written: { ...written, ...pathsOf(spec, written) } }
}

// --- internal ---

/** Rejects when the user interrupts. A plugin's top level that still waits then ends with the process. */
function interrupted(stop: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const fail = () => reject(new Failure("INTERRUPTED", "interrupted"))
    stop.addEventListener("abort", fail, { once: true })
    if (stop.aborted) fail()
  })
}

async function configure(
  loaded: Loaded,
  given: Readonly<Record<string, unknown>>,
  { surroundings, interrupts, trace, watchdog }: Preparation,
): Promise<Readonly<Record<string, unknown>>> {
  let spec = given
  for (const hooks of inOrder(loaded, "configure")) {
    const { timeouts, ...checked } = parseSpec(spec, loaded.source)
    const limit = timeouts.configure ?? timeouts.hook
    const call = (signal: AbortSignal) => hooks.configure?.(written(spec, checked.kernel), { ...surroundings, signal })
    const run = () => runHook("configure", { limit, interrupt: interrupts.next() }, call)
    const changes = await trace.span("hook:configure", () => watchdog.guard("configure", limit, run))
    spec = { ...spec, ...plainChanges(changes) }
  }
  return spec
}

/** The spec as it is written: a copy, which the hook may change. */
function written(spec: Readonly<Record<string, unknown>>, kernel: string): { kernel: string } {
  return { ...structuredClone(spec), kernel }
}

function plainChanges(changes: SpecChanges | undefined): Readonly<Record<string, unknown>> {
  if (changes === undefined || changes === null) return {}
  if (typeof changes === "object" && !Array.isArray(changes)) return { ...changes }
  throw new Failure("BAD_PLUGIN", `configure returned ${Bun.inspect(changes)}`, {
    hint: "return an object with the fields to change, or nothing",
    subject: "configure",
  })
}

function absolutePaths(spec: Spec, pluginPath: string): Spec & { name: string } {
  const from = dirname(pluginPath)
  return {
    ...spec,
    name: spec.name ?? nameFromFile(pluginPath),
    kernel: fileNamed(from, spec.kernel),
    initrd: spec.initrd === undefined ? undefined : fileNamed(from, spec.initrd),
    drives: spec.drives.map((drive) => {
      if (isDisk(drive)) return { ...drive, path: drive.path && fileNamed(from, drive.path) }
      return { ...drive, path: fileNamed(from, drive.path) }
    }),
    firecracker: absoluteSettings(from, spec.firecracker),
  }
}

/** Makes a written spec mean the same wherever it is read: with its name, and with absolute paths. */
function pathsOf(
  { name, kernel, initrd, drives, firecracker }: Spec,
  written: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const given = Array.isArray(written.drives) ? written.drives : []
  return {
    name,
    kernel,
    ...(initrd === undefined ? {} : { initrd }),
    drives: drives.map(({ path }, index) => ({ ...given[index], ...(path === undefined ? {} : { path }) })),
    // Of these what was written is what was read.
    ...(written.firecracker === undefined ? {} : { firecracker }),
  }
}

function absoluteSettings(from: string, { pmem, vhost_user, ...rest }: Spec["firecracker"]): Spec["firecracker"] {
  return {
    ...rest,
    ...(pmem && { pmem: pmem.map((each) => ({ ...each, path: fileNamed(from, each.path) })) }),
    ...(vhost_user && { vhost_user: vhost_user.map((each) => ({ ...each, socket: resolve(from, each.socket) })) }),
  }
}

/** A path relative to the plugin's directory, or an image of `banger get`. */
function fileNamed(from: string, path: string): string {
  return path.startsWith(GET) ? imagePath(ownPlaces(), path.slice(GET.length)) : resolve(from, path)
}

function checkFiles(spec: Spec): void {
  checkFile("kernel", spec.kernel)
  if (spec.initrd !== undefined) checkFile("initrd", spec.initrd)
  // What a disk is made from need not be there any more.
  for (const [index, drive] of spec.drives.entries())
    if (!isDisk(drive)) checkFile(`drives[${index}].path`, drive.path, true)
}

const FILE_HINT = "a relative path starts from the plugin's directory"
const KERNEL_HINT = `${FILE_HINT}; to get a kernel: banger get vmlinux-6.1, and in the plugin kernel: "get:vmlinux-6.1"`

function checkFile(role: string, path: string, deviceAllowed = false): void {
  const bad = (words: string, hint?: string) => new Failure("BAD_FILE", `${role}: ${words}`, { hint, subject: path })
  try {
    const stat = statSync(path)
    if (stat.isDirectory()) throw bad(`${path} is a directory, not a file`)
    if (deviceAllowed && stat.isBlockDevice()) return
    if (!stat.isFile()) throw bad(`${path} is not a regular file`)
    if (stat.size === 0) throw bad(`${path} is empty`)
  } catch (error) {
    const code = errorCode(error)
    if (code === "ENOENT" || code === "ENOTDIR")
      throw bad(`there is no file ${path}`, role === "kernel" ? KERNEL_HINT : FILE_HINT)
    throw error
  }
}

function defined({ name, vmm }: Overrides): Partial<Overrides> {
  return { ...(name === undefined ? {} : { name }), ...(vmm === undefined ? {} : { vmm }) }
}
