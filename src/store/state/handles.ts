import { basename } from "node:path"
import * as v from "valibot"
import { bootId } from "../../base/linux/bootId.ts"
import { O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { readAll } from "../../base/linux/content.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { isType, openAt, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure } from "../../base/terms/failure.ts"
import { NAME_PATTERN } from "../../base/terms/name.ts"
import { replaceFile } from "../files/replaceFile.ts"
import { keptThingSchema } from "../kept/thing.ts"

const userAndRoot = v.strictObject({ uid: v.pipe(v.number(), v.integer(), v.minValue(1)), root: v.string() })

const writtenIdentity = v.strictObject({
  pid: v.pipe(v.number(), v.integer(), v.minValue(2)),
  /** Clock ticks after boot, field 22 of /proc/PID/stat. */
  startTime: v.pipe(v.number(), v.integer(), v.minValue(0)),
  bootId: v.string(),
  /** Its pidfd's inode, which no other process of this boot has (Linux 6.9). */
  pidfd: v.optional(v.string()),
  uid: v.pipe(v.number(), v.integer(), v.minValue(0)),
  /** `device:inode` of the process's root directory. */
  root: v.string(),
  /** `device:inode` of the PID namespace that its pid is of, and of the time namespace that its start time is of. */
  pidNamespace: v.optional(v.string()),
  timeNamespace: v.optional(v.string()),
  /** The uid and root directory that it takes on while it starts, when it is jailed. */
  runsAs: v.optional(userAndRoot),
  /** What older bangers called `runsAs`: read, never written. */
  becomes: v.optional(userAndRoot),
})

/** What proves that a process is the one we started; see process/identity.ts. */
export const processIdentitySchema = v.pipe(writtenIdentity, v.transform(currentIdentity))
export type ProcessIdentity = v.InferOutput<typeof processIdentitySchema>

/** Something the host must get back. */
const resourceSchema = v.variant("kind", [
  v.strictObject({ kind: v.literal("stage"), path: v.string() }),
  v.strictObject({ kind: v.literal("runtime"), path: v.string() }),
  /** `root`: the jail's root as `device:inode`, null until it is made. Its path follows from the VMM's name and the id. */
  v.strictObject({
    kind: v.literal("jail"),
    vmm: v.pipe(v.string(), v.regex(/^[A-Za-z0-9][\w.-]{0,63}$/)),
    root: v.nullable(v.string()),
    /**
     * A drive that is given another file, or added, while the VM runs: `next` is that file's name in the jail, until it has
     * taken the name `file`. A drive that is added keeps its `next`.
     */
    changing: v.optional(v.strictObject({ drive: v.string(), file: v.optional(v.string()), next: v.string() })),
  }),
  v.strictObject({ kind: v.literal("cgroup"), path: v.string() }),
  /** A persistent disk: its claim, and that its file is the VM's uid's. The disk itself stays. */
  v.strictObject({ kind: v.literal("disk"), name: v.pipe(v.string(), v.regex(NAME_PATTERN)) }),
  /**
   * A lease, with its tap or veth of this name, its part of the rules, and the bridge when it is the last one's. `card`: the
   * network card that it is for; absent for the plugin's own. `plugging`: it comes or goes while the VM runs.
   */
  v.strictObject({
    kind: v.literal("network"),
    link: v.pipe(v.string(), v.regex(/^bgr[a-z0-9]{5,12}$/)),
    netns: v.boolean(),
    /** The boot, and its network namespace (`device:inode`), that have all of this. */
    bootId: v.string(),
    namespace: v.string(),
    card: v.optional(v.pipe(v.string(), v.regex(/^[a-z0-9_]{1,20}$/))),
    plugging: v.optional(v.literal(true)),
  }),
  /** What a plugin keeps for the VM (`ctx.keep`). `number`: which of them; `bootId`: the boot in which it was made. */
  v.strictObject({
    kind: v.literal("kept"),
    number: v.pipe(v.number(), v.integer(), v.minValue(1)),
    bootId: v.string(),
    thing: keptThingSchema,
  }),
  /** `identity`: null until the process is started; `pidNamespace` tells where to look for it until then. */
  v.strictObject({
    kind: v.literal("process"),
    identity: v.nullable(processIdentitySchema),
    pidNamespace: v.optional(v.string()),
  }),
])
export type Resource = v.InferOutput<typeof resourceSchema>

/** The journal: every resource a VM has or is about to have, in the order of acquiring. */
export const journalSchema = v.array(resourceSchema)

/** Schema number of handles.json. */
const SCHEMA = 1

/** A larger file than this is not a journal. */
const HANDLES_MAX_BYTES = 1024 * 1024

const handlesSchema = v.strictObject({
  schema: v.literal(SCHEMA),
  generation: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  bootId: v.string(),
  writtenAt: v.number(),
  sha256: v.string(),
  journal: journalSchema,
})

/** One generation of a journal. */
export interface Generation {
  readonly generation: number
  readonly journal: readonly Resource[]
}

/** What handles.json holds: a generation, nothing (it is not there), or something that must not be believed. */
export type Handles = ({ is: "good" } & Generation) | { is: "missing" } | { is: "bad"; why: string }

/** The path of the generation before this one. */
export function previousOf(path: string): string {
  return `${path}.prev`
}

/**
 * Writes the journal to handles.json: atomic, with a checksum. The generation before it is kept beside it. `lasting`: whether a
 * loss of power leaves it (see `replaceFile`).
 */
export function writeHandles(
  path: string,
  { generation, journal }: Generation,
  { lasting = true }: { readonly lasting?: boolean } = {},
): void {
  const sha256 = digest(journal)
  const handles = { schema: SCHEMA, generation, bootId: bootId(), writtenAt: Date.now(), sha256, journal }
  replaceFile(path, `${JSON.stringify(handles, null, 2)}\n`, {
    previous: basename(previousOf(path)),
    lasting: lasting ? "content" : "nothing",
  })
}

/**
 * Reads handles.json, or the generation before it. Throws a failure when a newer banger wrote it, and a system error when
 * it cannot be read: then nothing is known of the VM.
 */
export function readHandles(path: string): Handles {
  let text: string
  try {
    text = readOwnFile(path)
  } catch (error) {
    const code = errorCode(error)
    if (code === "ENOENT") return { is: "missing" }
    if (code === "ELOOP") return { is: "bad", why: "it is a symlink" }
    if (error instanceof Failure) return { is: "bad", why: error.message }
    throw error
  }
  return parse(text, path)
}

// --- internal ---

/** The text of a file that only we can write. Throws a failure for any other file. */
function readOwnFile(path: string): string {
  return withDescriptor(openAt(AT_FDCWD, path, O.RDONLY | O.NONBLOCK | O_NOFOLLOW), (fd) => {
    const stat = statDescriptor(fd)
    if (!isType(stat, S.IFREG)) throw new Failure("BAD_STATE", "it is not a regular file")
    if (stat.uid !== (process.geteuid?.() ?? 0)) throw new Failure("UNTRUSTED", `it belongs to uid ${stat.uid}`)
    if ((stat.mode & 0o022) !== 0) throw new Failure("UNTRUSTED", "it can be written by others")
    if (stat.size > HANDLES_MAX_BYTES) throw new Failure("BAD_STATE", `it has ${stat.size} bytes`)
    return new TextDecoder().decode(readAll(fd, stat.size))
  })
}

function parse(text: string, path: string): Handles {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return { is: "bad", why: text === "" ? "it is empty" : "it is not JSON" }
  }
  const schema = typeof value === "object" && value !== null && "schema" in value ? value.schema : undefined
  if (typeof schema === "number" && schema > SCHEMA) {
    const hint = "install the newer version again"
    const message = `${path} was written by a newer banger (schema ${schema}, this one knows ${SCHEMA})`
    throw new Failure("BAD_STATE", message, { hint, subject: path })
  }
  const handles = v.safeParse(handlesSchema, value)
  if (!handles.success) return { is: "bad", why: "its fields do not match the journal's schema" }
  const { generation, sha256 } = handles.output
  // The checksum is of the journal as it was written, in its own order of keys and with its own names.
  const { journal } = value as v.InferInput<typeof handlesSchema>
  if (digest(journal) !== sha256) return { is: "bad", why: "its checksum is wrong" }
  return { is: "good", generation, journal: journal.map(currentResource) }
}

/** A resource with the names that its fields have now; one that has them already stays the very same. */
function currentResource(resource: v.InferInput<typeof resourceSchema>): Resource {
  if (resource.kind !== "process" || resource.identity === null) return resource as Resource
  return { ...resource, identity: currentIdentity(resource.identity) }
}

function currentIdentity({ becomes, ...identity }: v.InferOutput<typeof writtenIdentity>) {
  return becomes === undefined ? identity : { ...identity, runsAs: becomes }
}

function digest(journal: unknown): string {
  return new Bun.CryptoHasher("sha256").update(JSON.stringify(journal)).digest("hex")
}
