import * as v from "valibot"
import { failureSchema } from "../../base/terms/failureSchema.ts"
import { LEVELS } from "../../base/terms/message.ts"
import { NAME_PATTERN } from "../../base/terms/name.ts"

/** The hooks that root's helper asks the user's process for; `configure` has run there by then. */
export const ASKED_HOOKS = ["preBoot", "postBoot", "preStop", "postStop"] as const
export type AskedHook = (typeof ASKED_HOOKS)[number]

/** What a hook may ask the helper to do meanwhile, by its name in the hook's context. */
const CALLS = [
  ...["stage.write", "stage.copy", "drives.add", "pause", "resume"],
  ...["drives.replace", "drives.update", "drives.plug", "drives.remove", "network.update"],
] as const
export type CallName =
  | "stage.write"
  | "stage.copy"
  | "drives.add"
  | "pause"
  | "resume"
  | "drives.replace"
  | "drives.update"
  | "drives.plug"
  | "drives.remove"
  | "network.update"

/** The logs that `banger logs` prints. */
const LOGS = ["console", "events", "vmm", "supervisor"] as const

/** The first line of either side: both are of the same build, or do not speak. */
export const helloSchema = v.strictObject({ banger: v.pipe(v.string(), v.maxLength(200)) })

const id = v.pipe(v.number(), v.safeInteger(), v.minValue(1))
const lines = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(999_999_999))
/** Of a VM, by which the helper looks among the caller's own. Never a path. */
const vm = v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9-]{0,62}$/, "a VM's name or id"))
const ms = v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(24 * 3_600_000))
const flag = v.optional(v.boolean())
const words = v.pipe(v.string(), v.maxLength(8192))
/** No path is one that a terminal would show otherwise than it is. */
const path = v.pipe(v.string(), v.startsWith("/"), v.maxLength(4096), v.regex(/^[^\u0000-\u001f\u007f-\u009f]+$/))
const object = v.pipe(
  // A list would become an object without a word.
  v.custom<object>((value) => typeof value === "object" && value !== null && !Array.isArray(value)),
  v.record(v.string(), v.unknown()),
)
const base64 = (most: number) => v.pipe(v.string(), v.maxLength(most), v.regex(/^[A-Za-z0-9+/]*={0,2}$/))

/** What a user's banger asks for, by the verb: the list is closed, and nothing in it names a place that root would write to. */
const VERBS = {
  list: v.strictObject({ id, verb: v.literal("list"), all: flag }),
  inspect: v.strictObject({ id, verb: v.literal("inspect"), vm }),
  logs: v.strictObject({
    id,
    verb: v.literal("logs"),
    vm,
    which: v.picklist(LOGS),
    tail: v.optional(lines),
    follow: flag,
    json: flag,
  }),
  events: v.strictObject({ id, verb: v.literal("events"), vm, follow: flag }),
  stop: v.strictObject({ id, verb: v.literal("stop"), vm, timeoutMs: v.optional(ms) }),
  kill: v.strictObject({ id, verb: v.literal("kill"), vm }),
  wait: v.strictObject({ id, verb: v.literal("wait"), vm, timeoutMs: v.optional(ms) }),
  rm: v.strictObject({ id, verb: v.literal("rm"), vm, force: flag }),
  run: v.strictObject({
    ...{ id, verb: v.literal("run") },
    /** Where the plugin is, for its record: root neither opens nor loads it. */
    plugin: path,
    sha256: v.pipe(v.string(), v.regex(/^[\da-f]{64}$/)),
    /** Its spec as a plugin would write it, with absolute paths and its name. */
    spec: object,
    args: v.pipe(v.array(v.pipe(v.string(), v.maxLength(4096))), v.maxLength(64)),
    /** Which hooks each part of the plugin has. */
    hooks: v.pipe(v.array(v.pipe(v.array(v.picklist(ASKED_HOOKS)), v.maxLength(4))), v.maxLength(64)),
    console: flag,
    keepOnFailure: flag,
    replace: flag,
  }),
} as const
export type Verb = keyof typeof VERBS
export type Request<V extends Verb = Verb> = { readonly [K in V]: Readonly<v.InferOutput<(typeof VERBS)[K]>> }[V]

/** What a user's banger says while its VM runs. */
const DURING = {
  /** A hook is done; `error`: what it threw; `reason` and `exitCode`: what a postStop hook makes of the run. */
  answer: v.strictObject({
    ...{ id, verb: v.literal("answer"), ask: id },
    error: v.optional(words),
    reason: v.optional(words),
    exitCode: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(255))),
  }),
  call: v.strictObject({
    ...{ id, verb: v.literal("call"), ask: id, call: v.picklist(CALLS) },
    name: v.optional(v.pipe(v.string(), v.maxLength(4096))),
    path: v.optional(path),
    /** A part of a file's content. */
    part: v.optional(base64(48 * 1024)),
    last: flag,
    with: v.optional(object),
  }),
  interrupt: v.strictObject({
    id,
    verb: v.literal("interrupt"),
    signal: v.picklist(["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"]),
  }),
  keys: v.strictObject({ id, verb: v.literal("keys"), keys: base64(8192) }),
  /** So many bytes of the console have been shown. */
  shown: v.strictObject({ id, verb: v.literal("shown"), bytes: v.pipe(v.number(), v.safeInteger(), v.minValue(1)) }),
} as const
export type During = { [K in keyof typeof DURING]: Readonly<v.InferOutput<(typeof DURING)[K]>> }[keyof typeof DURING]

const vmData = v.object({
  ...{ id: v.string(), name: v.string(), vmm: v.picklist(["firecracker", "qemu"]), vcpus: v.number() },
  ...{ memoryMiB: v.number(), consoleLog: v.string(), pid: v.optional(v.number()), network: v.optional(object) },
})

/** What root's helper says. It is trusted: this says what there is. */
export const saidSchema = v.union([
  v.strictObject({ is: v.literal("hello"), banger: v.string(), uid: v.number() }),
  v.strictObject({ is: v.literal("done"), id, value: v.optional(v.unknown()) }),
  v.strictObject({ is: v.literal("failed"), id: v.optional(id), error: failureSchema }),
  v.strictObject({ is: v.literal("log"), level: v.picklist(LEVELS), message: v.string() }),
  /** Bytes of a console, or of what a command prints. */
  v.strictObject({ is: v.literal("data"), bytes: v.string() }),
  /** The VM's console can be written to. */
  v.strictObject({ is: v.literal("running") }),
  v.strictObject({
    is: v.literal("booted"),
    vm: v.object({ id: v.string(), name: v.string(), vmm: v.string(), pid: v.optional(v.number()), dir: v.string() }),
  }),
  v.strictObject({
    ...{ is: v.literal("hook"), ask: id, hook: v.picklist(ASKED_HOOKS), part: v.number() },
    ...{ vm: vmData, dir: v.string(), exit: v.optional(object), again: v.optional(v.boolean()) },
    exitCode: v.optional(v.number()),
  }),
  /** A hook is no longer waited for. */
  v.strictObject({ is: v.literal("enough"), ask: id, why: v.string() }),
  v.strictObject({ is: v.literal("answered"), call: id, value: v.optional(v.unknown()) }),
  v.strictObject({ is: v.literal("refused"), call: id, error: failureSchema }),
])
export type Said = v.InferOutput<typeof saidSchema>
export type SaidOf<K extends Said["is"]> = Extract<Said, { is: K }>

/** A request of a caller, checked in full: which verb it is, and each of its fields. Undefined where it is none. Pure. */
export function readRequest(message: Readonly<Record<string, unknown>>): Request | undefined {
  return readBy(VERBS, message) as Request | undefined
}

/** As `readRequest`, of what is said while a VM runs. Pure. */
export function readDuring(message: Readonly<Record<string, unknown>>): During | undefined {
  return readBy(DURING, message) as During | undefined
}

/** Whether a spec's name can be a VM's: it goes to the record before a spec is checked. Pure. */
export function isVmName(name: unknown): name is string {
  return typeof name === "string" && NAME_PATTERN.test(name)
}

// --- internal ---

function readBy(
  schemas: Readonly<Record<string, v.GenericSchema>>,
  message: Readonly<Record<string, unknown>>,
): unknown {
  const { verb } = message
  if (typeof verb !== "string" || !Object.hasOwn(schemas, verb)) return undefined
  const schema = schemas[verb]
  const result = schema && v.safeParse(schema, message)
  return result?.success === true ? result.output : undefined
}
