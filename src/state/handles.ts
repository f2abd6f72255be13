import { readFileSync } from "node:fs"
import * as v from "valibot"
import { replaceFile } from "./atomic.ts"
import { bootId } from "./bootId.ts"

/** What proves that a process is the one we started; see process/identity.ts. */
export const processIdentitySchema = v.strictObject({
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
  /** The uid and root directory it goes over to while it starts, when it is jailed. */
  becomes: v.optional(v.strictObject({ uid: v.pipe(v.number(), v.integer(), v.minValue(1)), root: v.string() })),
})
export type ProcessIdentity = v.InferOutput<typeof processIdentitySchema>

/** Something the host must get back. */
export const resourceSchema = v.variant("kind", [
  v.strictObject({ kind: v.literal("stage"), path: v.string() }),
  v.strictObject({ kind: v.literal("runtime"), path: v.string() }),
  /** `root`: the jail's root as `device:inode`, null until it is made; where it is follows from the VMM's name and the id. */
  v.strictObject({
    kind: v.literal("jail"),
    vmm: v.pipe(v.string(), v.regex(/^[A-Za-z0-9][\w.-]{0,63}$/)),
    root: v.nullable(v.string()),
  }),
  v.strictObject({ kind: v.literal("cgroup"), path: v.string() }),
  /** `identity`: null until it is started; until then `pidNamespace` tells where it can be looked for. */
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

const handlesSchema = v.strictObject({
  schema: v.literal(SCHEMA),
  generation: v.number(),
  bootId: v.string(),
  writtenAt: v.number(),
  sha256: v.string(),
  journal: journalSchema,
})

/** Writes the journal to handles.json: atomic, durable, with a checksum. */
export function writeHandles(path: string, generation: number, journal: readonly Resource[]): void {
  const sha256 = digest(journal)
  const handles = { schema: SCHEMA, generation, bootId: bootId(), writtenAt: Date.now(), sha256, journal }
  replaceFile(path, `${JSON.stringify(handles, null, 2)}\n`)
}

/** The journal in handles.json, or undefined when the file is missing, torn, altered or of another version. */
export function readHandles(path: string): readonly Resource[] | undefined {
  try {
    const handles = v.parse(handlesSchema, JSON.parse(readFileSync(path, "utf8")))
    return digest(handles.journal) === handles.sha256 ? handles.journal : undefined
  } catch {
    // Whatever is wrong with it, the answer is one: it cannot be used, and the record's mirror is.
    return undefined
  }
}

// --- internal ---

function digest(journal: readonly Resource[]): string {
  return new Bun.CryptoHasher("sha256").update(JSON.stringify(journal)).digest("hex")
}
