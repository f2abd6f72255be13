import { isAbsolute } from "node:path"
import type { KeepingContext, Kept } from "banger"
import * as v from "valibot"
import { Failure } from "../../base/terms/failure.ts"
import { parseSize } from "../../base/terms/quantity.ts"
import { argvSchema, describeKept, keptPath } from "../../store/kept/thing.ts"
import type { Session } from "../../vm/session.ts"
import { type KeepWish, type KeptResource, keepThing, keptOn } from "./keepThing.ts"

/** `ctx.keep` for a hook with this signal. */
export function keeping(session: Pick<Session, "id" | "journal">, signal: AbortSignal): KeepingContext["keep"] {
  return async (thing) => {
    signal.throwIfAborted()
    try {
      return shown(keepThing(session, parseWish(thing)))
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      const { code, message, hint, subject } = error
      throw new Failure(code, `ctx.keep: ${message}`, { hint, subject, cause: error })
    }
  }
}

/** What a VM keeps, as its hooks see it. */
export function keptNow({ journal }: Pick<Session, "journal">): readonly Kept[] {
  return keptOn(journal.resources).map(shown)
}

/** What a hook has said of a thing. Throws BAD_PLUGIN that says what is allowed. Pure. */
export function parseWish(thing: unknown): KeepWish {
  const parsed = v.safeParse(wishSchema, thing)
  if (parsed.success) return parsed.output
  const [issue] = parsed.issues
  const field = v.getDotPath(issue) ?? "the thing"
  const words = issue.type === "strict_object" ? "no other fields" : issue.message
  throw new Failure("BAD_PLUGIN", `${field} is not allowed; allowed: ${words}`, { subject: "keep" })
}

// --- internal ---

const PATH_WORDS = "an absolute path"
/** As the kernel has it. */
const PATH_MAX_BYTES = 4096
const path = v.pipe(
  v.string(PATH_WORDS),
  v.check((text) => isAbsolute(text) && !text.includes("\0") && Buffer.byteLength(text) < PATH_MAX_BYTES, PATH_WORDS),
)
const readonly = v.optional(v.boolean("true or false"), false)

const BYTES_WORDS = "a whole number of bytes, in sectors of 512"
const bytes = v.optional(
  v.pipe(
    v.number(BYTES_WORDS),
    v.check((n) => Number.isSafeInteger(n) && n >= 0 && n % 512 === 0, BYTES_WORDS),
  ),
  0,
)

const NAME_WORDS = "a name of letters, digits and _.+-, at most 100 long"
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}$/
const ORIGIN_WORDS = '"group/volume"'
const ORIGIN = /^[\w+][\w+.-]{0,126}\/[\w+][\w+.-]{0,126}$/
const SIZE_WORDS = 'a size with its unit: "1G"'
const TYPE_WORDS = 'the name of a file system: "ext4"'
const OPTIONS_WORDS = 'options, one a word: "noatime"'
const ARGV_WORDS = "a list of at most 64 words and 4 KiB, the first of which is a program's absolute path"

const argv = v.custom<v.InferOutput<typeof argvSchema>>((value) => v.is(argvSchema, value), ARGV_WORDS)

const wishSchema = v.variant(
  "kind",
  [
    v.pipe(
      v.strictObject({ kind: v.literal("loop"), file: path, readonly, offset: bytes, size: bytes }),
      v.transform(({ size, ...loop }) => ({ ...loop, sizeLimit: size })),
    ),
    v.strictObject({
      kind: v.literal("dm"),
      name: v.pipe(v.string(NAME_WORDS), v.regex(NAME, NAME_WORDS)),
      table: v.pipe(
        v.array(v.string("a list of lines"), "a list of lines"),
        v.minLength(1, "one line at least"),
        v.maxLength(64, "at most 64 lines"),
      ),
      readonly,
    }),
    v.pipe(
      v.strictObject({
        kind: v.literal("lvm"),
        origin: v.pipe(v.string(ORIGIN_WORDS), v.regex(ORIGIN, ORIGIN_WORDS)),
        size: v.optional(
          v.pipe(
            v.string(SIZE_WORDS),
            v.transform((text) => parseSize(text) ?? Number.NaN),
            v.check((size) => size > 0, SIZE_WORDS),
          ),
        ),
      }),
      v.transform(({ size, ...volume }) => ({ ...volume, sizeBytes: size })),
    ),
    v.strictObject({
      kind: v.literal("mount"),
      target: path,
      source: v.pipe(
        v.string(PATH_WORDS),
        v.check((text) => text !== "" && !text.includes("\0"), PATH_WORDS),
      ),
      type: v.optional(v.pipe(v.string(TYPE_WORDS), v.regex(/^[\w.-]{1,32}$/, TYPE_WORDS))),
      options: v.optional(v.array(v.pipe(v.string(OPTIONS_WORDS), v.regex(/^[^\0,]{1,200}$/, OPTIONS_WORDS))), []),
      readonly,
    }),
    v.strictObject({
      kind: v.literal("command"),
      what: v.pipe(v.string("words"), v.minLength(1, "words"), v.maxLength(200, "at most 200 characters")),
      still: argv,
      release: argv,
    }),
  ],
  '"loop", "dm", "lvm", "mount" or "command"',
)

function shown({ number, thing }: KeptResource): Kept {
  return { kind: thing.kind, number, what: describeKept(thing), path: keptPath(thing) }
}
