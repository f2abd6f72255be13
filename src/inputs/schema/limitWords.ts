import * as v from "valibot"
import { usageError } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"
import { limitsSpec } from "./vm.ts"

/** What of a VM's limits is to change; sizes in bytes, rates per second. null lifts a limit, undefined leaves it. */
export interface LimitWishes {
  readonly memory?: number | null | undefined
  readonly cpus?: number | null | undefined
  readonly pids?: number | null | undefined
  readonly io?: readonly IoWishes[] | undefined
}

/** As `LimitWishes`, on one block device. */
export interface IoWishes {
  readonly device: string
  readonly readBytes?: number | null | undefined
  readonly writeBytes?: number | null | undefined
  readonly readOps?: number | null | undefined
  readonly writeOps?: number | null | undefined
}

/** The words of `LimitWishes`, as `banger set` takes them. */
export const LIMIT_KEYS = ["limits.memory", "limits.cpus", "limits.pids", "limits.io"] as const
export type LimitKey = (typeof LIMIT_KEYS)[number]

/**
 * What was wished before, and what `key=text` adds, in the words and bounds of a plugin's `limits`; `none` lifts a limit. Of
 * limits.io the text is `/dev/sda,readBytes=10M,writeOps=100`. Throws USAGE, which names the word.
 */
export function withLimit(before: LimitWishes, key: LimitKey, text: string): LimitWishes {
  const word = `${key}=${text}`
  const field = key.slice("limits.".length) as "memory" | "cpus" | "pids" | "io"
  if (field !== "io") {
    if (before[field] !== undefined) throw usageError(`${word}: ${key} is set twice`, { subject: key })
    return {
      ...before,
      ...(text === "none" ? { [field]: null } : checked({ [field]: asWritten(field, text) }, word, key)),
    }
  }
  const io = ioOf(word, text)
  if (before.io?.some(({ device }) => device === io.device))
    throw usageError(`${word}: ${io.device} is set twice`, { subject: key })
  return { ...before, io: [...(before.io ?? []), io] }
}

// --- internal ---

const RATES = ["readBytes", "writeBytes", "readOps", "writeOps"] as const
const IO_HINT = "limits.io=/dev/sda,readBytes=10M,writeOps=100"

function ioOf(word: string, text: string): IoWishes {
  const [device = "", ...words] = text.split(",")
  const hint = IO_HINT
  if (words.length === 0)
    throw usageError(`${word}: no limit for ${device || "a device"}`, { hint, subject: "limits.io" })
  const given = words.map((each): [string, string] => {
    const [, key = "", value] = /^([^=]*)(?:=(.*))?$/s.exec(each) ?? []
    if (value === undefined || !RATES.some((rate) => rate === key)) {
      const like = nearest(key, RATES)
      const meant = like === undefined || value === undefined ? "" : `; did you mean ${like}?`
      throw usageError(`${word}: ${JSON.stringify(each)} is no limit of a device${meant}`, {
        hint,
        subject: "limits.io",
      })
    }
    return [key, value]
  })
  const twice = given.find(([key], index) => given.findIndex(([other]) => other === key) !== index)
  if (twice !== undefined) throw usageError(`${word}: ${twice[0]} is set twice`, { hint, subject: "limits.io" })
  const lifted = given.flatMap(([key, value]) => (value === "none" ? [[key, null]] : []))
  const kept = given.flatMap(([key, value]) => (value === "none" ? [] : [[key, asWritten(key, value)]]))
  const { io } = checked({ io: [{ device, ...Object.fromEntries(kept) }] }, word, "limits.io")
  return { device, ...io?.[0], ...Object.fromEntries(lifted) }
}

/** As a plugin would write it. */
function asWritten(field: string, text: string): string | number {
  return /^(?:memory|readBytes|writeBytes)$/.test(field) || !/^\d+(?:\.\d+)?$/.test(text) ? text : Number(text)
}

function checked(input: unknown, word: string, key: LimitKey): v.InferOutput<typeof limitsSpec> {
  const result = v.safeParse(limitsSpec, input)
  if (result.success) return result.output
  const hint = key === "limits.io" ? IO_HINT : `or lift it: ${key}=none`
  throw usageError(`${word}: allowed: ${result.issues[0].message}`, { hint, subject: key })
}
