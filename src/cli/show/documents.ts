import * as v from "valibot"
import { LEVELS } from "../../base/terms/message.ts"

// The documents of commands that print little. Commands name their types alone: at run time nothing here is loaded.

/** A line of `banger stop`, `kill` and `rm` with --json: a VM for which that was done. */
export const doneSchema = v.strictObject({ id: v.string(), name: v.string() })
export type Done = v.InferOutput<typeof doneSchema>

/** What `banger forget --json` prints. */
export const forgottenVmSchema = v.strictObject({
  id: v.string(),
  name: v.string(),
  /** Whether the VM's record has gone with it: it stays where it had ended, and only what its plugin keeps is given up. */
  removed: v.boolean(),
  /** Why nothing could be told of it. */
  why: v.string(),
  /** What nobody looks after any more. */
  givenUp: v.pipe(v.array(v.string()), v.readonly()),
})
export type ForgottenVm = v.InferOutput<typeof forgottenVmSchema>

/** What `banger snapshot --json` prints. */
export const savedSchema = v.strictObject({
  id: v.string(),
  name: v.string(),
  /** The directory that was made, absolute. */
  dir: v.string(),
})
export type Saved = v.InferOutput<typeof savedSchema>

/** What `banger set --json` prints: what was asked for. */
export const setResultSchema = v.strictObject({
  id: v.string(),
  name: v.string(),
  /** null, as `balloonMiB` is: it stays as it is. */
  memoryMiB: v.nullable(v.number()),
  balloonMiB: v.nullable(v.number()),
  /** Those that were set; null: none. */
  limits: v.nullable(
    v.strictObject({
      /** null, as the others are: it was lifted. */
      memoryBytes: v.optional(v.nullable(v.number())),
      cpus: v.optional(v.nullable(v.number())),
      pids: v.optional(v.nullable(v.number())),
      io: v.optional(
        v.pipe(
          v.array(
            v.strictObject({
              device: v.string(),
              readBytes: v.optional(v.nullable(v.number())),
              writeBytes: v.optional(v.nullable(v.number())),
              readOps: v.optional(v.nullable(v.number())),
              writeOps: v.optional(v.nullable(v.number())),
            }),
          ),
          v.readonly(),
        ),
      ),
    }),
  ),
})
export type SetResult = v.InferOutput<typeof setResultSchema>

/** A line of `banger logs --json`. */
export const logLineSchema = v.strictObject({ line: v.string() })
export type LogLine = v.InferOutput<typeof logLineSchema>

/** What `banger init --json` prints: the files it wrote. */
export const writtenSchema = v.strictObject({ files: v.array(v.string()) })
export type Written = v.InferOutput<typeof writtenSchema>

/** What `banger system install --json` prints. */
export const installedSchema = v.strictObject({
  files: v.array(v.strictObject({ path: v.string(), done: v.picklist(["written", "removed", "unchanged"]) })),
})
export type Installed = { readonly files: readonly v.InferOutput<typeof installedSchema>["files"][number][] }

/** What `banger get NAME`, `get path` and `get rm` print with --json. */
export const imageSchema = v.strictObject({
  name: v.string(),
  path: v.string(),
  /** With `get NAME`: whether it was not here before. */
  new: v.optional(v.boolean()),
})
export type ImageFile = v.InferOutput<typeof imageSchema>

/** What `banger get ls --json` prints: the images that are here, and those that banger knows where to get. */
export const imageListSchema = v.array(
  v.strictObject({
    name: v.string(),
    here: v.boolean(),
    /** null, as `path` is: it is not here. */
    sizeBytes: v.nullable(v.number()),
    path: v.nullable(v.string()),
    /** Shorter names for it. */
    also: v.pipe(v.array(v.string()), v.readonly()),
    /** null: an image of your own. */
    about: v.nullable(v.string()),
  }),
)
export type ImageList = v.InferOutput<typeof imageListSchema>

/** What `banger disk rm`, `export`, `import` and `resize` print with --json. */
export const diskFileSchema = v.strictObject({
  name: v.string(),
  /** The disk's file, or with `export` the file that was made. */
  path: v.string(),
  sizeBytes: v.number(),
})
export type DiskFile = v.InferOutput<typeof diskFileSchema>

/** What `banger update --json` prints, also with --rollback. */
export const updateSchema = v.strictObject({
  /** The version that is here now. */
  version: v.string(),
  /** The one that was here before. */
  before: v.string(),
  path: v.string(),
})
export type Update = v.InferOutput<typeof updateSchema>

/** What `banger update --check --json` prints. */
export const updateCheckSchema = v.strictObject({
  current: v.string(),
  latest: v.string(),
  /** Whether the latest is newer than this one. */
  newer: v.boolean(),
})
export type UpdateCheck = v.InferOutput<typeof updateCheckSchema>

/** What `banger version --json` prints. */
export const versionSchema = v.strictObject({ version: v.string(), commit: v.string() })

/** What `banger system`, `complete` and `help`, and every `--help`, print with --json. */
export const textSchema = v.strictObject({ text: v.string() })
export type Text = v.InferOutput<typeof textSchema>

/** A message: every line of standard error with --json but a failure. */
export const messageSchema = v.strictObject({
  log: v.strictObject({
    level: v.picklist(LEVELS),
    message: v.string(),
  }),
})
