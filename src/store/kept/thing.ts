import * as v from "valibot"

// The room kept of the store: what a plugin keeps for a VM, as a journal has it.
// The rule: pure; an entry holds all that it takes to know the thing again and to give it back.

/** `device:inode` of a file. */
const inode = v.pipe(v.string(), v.regex(/^\d+:\d+:\d+$/))

/** A program by its absolute path, and its words. They are bounded: a journal has many, and must stay readable. */
export const argvSchema = v.pipe(
  v.array(v.string()),
  v.check(([program = "", ...words]) => program.startsWith("/") && words.length < 64),
  v.check(
    (argv) => !argv.some((word) => word.includes("\0")) && Buffer.byteLength(JSON.stringify(argv)) <= ARGV_MAX_BYTES,
  ),
)

const ARGV_MAX_BYTES = 4096

/**
 * Something of the host's that a plugin has for a VM, and by what it is known to be the same: all that it takes to give it back without
 * the plugin.
 */
export const keptThingSchema = v.variant("kind", [
  /**
   * A loop device. `device`: its path; null until it is made, when its label tells which it is. `label`: what was put there when its
   * file was attached.
   */
  v.strictObject({
    kind: v.literal("loop"),
    file: v.string(),
    backing: inode,
    label: v.string(),
    device: v.nullable(v.pipe(v.string(), v.regex(/^\/dev\/loop\d{1,7}$/))),
  }),
  /** A device of the device mapper; `device`: its path, null until it is made. */
  v.strictObject({
    kind: v.literal("dm"),
    name: v.string(),
    uuid: v.pipe(v.string(), v.regex(/^.{1,128}$/)),
    device: v.nullable(v.pipe(v.string(), v.regex(/^\/dev\/dm-\d{1,7}$/))),
  }),
  /** A snapshot of LVM's, by the tag that it was made with. */
  v.strictObject({
    kind: v.literal("lvm"),
    group: v.string(),
    volume: v.string(),
    tag: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9-]{0,127}$/)),
  }),
  /**
   * A mount, known before it is attached. `id` and `fileSystem` (`major:minor`): of /proc/self/mountinfo; `identity`: what no mount in its place has;
   * `namespace`: `device:inode` of the mount namespace that it is in, and behind it, where the kernel tells it, the number that no other has.
   */
  v.strictObject({
    kind: v.literal("mount"),
    target: v.pipe(v.string(), v.startsWith("/")),
    id: v.string(),
    fileSystem: v.string(),
    identity: v.string(),
    namespace: v.string(),
  }),
  /** Anything else. `still` exits with 0 while it is the same, with 1 once it is gone; `release` gives it back. */
  v.strictObject({
    kind: v.literal("command"),
    what: v.pipe(v.string(), v.minLength(1), v.maxLength(200)),
    still: argvSchema,
    release: argvSchema,
  }),
])
export type KeptThing = v.InferOutput<typeof keptThingSchema>

/** Whether a loss of power leaves it. Pure. */
export function keptOnDisk({ kind }: KeptThing): boolean {
  return kind === "lvm" || kind === "command"
}

/** What it is, for people. Pure. */
export function describeKept(thing: KeptThing): string {
  if (thing.kind === "loop") return `${thing.device ?? "a loop device"} of ${thing.file}`
  if (thing.kind === "dm") return `the device mapper's ${thing.name}`
  if (thing.kind === "mount") return `the mount on ${thing.target}`
  if (thing.kind === "lvm") return `LVM's snapshot ${thing.group}/${thing.volume}`
  return thing.what
}

/** Where the host has it, where that is known and it is made. Pure. */
export function keptPath(thing: KeptThing): string | undefined {
  if (thing.kind === "loop" || thing.kind === "dm") return thing.device ?? undefined
  if (thing.kind === "mount") return thing.target
  return thing.kind === "lvm" ? `/dev/${thing.group}/${thing.volume}` : undefined
}
