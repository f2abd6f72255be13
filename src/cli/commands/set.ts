import { usageError } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"
import { formatSize, parseSize } from "../../base/terms/quantity.ts"
import { LIMIT_KEYS, type LimitKey, type LimitWishes, withLimit } from "../../inputs/schema/limitWords.ts"
import { openState } from "../../store/state/open.ts"
import { setVm } from "../../supervisor/changes/setVm.ts"
import type { Wishes } from "../../supervisor/changes/sizes.ts"
import type { SetResult } from "../show/documents.ts"
import { command, vmArg } from "../terminal/command.ts"

export default command({
  meta: {
    name: "set",
    description: "Change the limits of a running VM; on Firecracker also its memory and balloon",
  },
  args: {
    vm: vmArg,
    what: {
      type: "positional",
      required: true,
      description:
        "memory=1G, balloon=64M, limits.memory=2G, limits.cpus=1.5, limits.pids=100, limits.io=/dev/sda,readBytes=10M",
    },
  },
  takesMany: true,
  async run({ vm, what }, { more, output }) {
    const words = [what, ...more]
    const { limits, memory, balloon } = wishesOf(words)
    using state = openState()
    const { id, name } = await setVm(state, vm, { limits, memory, balloon })
    const asked = Object.entries({ memory, balloon }).flatMap(([key, mebibytes]) =>
      mebibytes === undefined ? [] : [`${key} ${formatSize(mebibytes * MIB_BYTES)}`],
    )
    if (asked.length > 0) output.log.info(`${name} (${id}) is asked for: ${asked.join(", ")}`)
    const limited = words.filter((word) => word.startsWith("limits."))
    if (limited.length > 0) output.log.info(`${name} (${id}) has ${limited.join(" ")}`)
    output.show(
      { id, name, memoryMiB: memory ?? null, balloonMiB: balloon ?? null, limits: shown(limits) } satisfies SetResult,
      "",
    )
    return undefined
  },
})

// --- internal ---

const MIB_BYTES = 1024 * 1024

const SIZES = ["memory", "balloon"] as const
const KEYS = [...SIZES, ...LIMIT_KEYS]

interface AllWishes extends Wishes {
  readonly limits: LimitWishes
}

/** What the words ask for. Throws USAGE, which names the first word that is wrong. */
function wishesOf(words: readonly string[]): AllWishes {
  return words.reduce<AllWishes>((wishes, word) => withWish(wishes, word), { limits: {} })
}

function withWish(wishes: AllWishes, word: string): AllWishes {
  const at = word.indexOf("=")
  const key = keyOf(at === -1 ? word : word.slice(0, at), word)
  const text = word.slice(at + 1)
  if (isLimit(key)) {
    if (at === -1) throw usageError(`${word}: ${key} has no value`, { hint: `or lift it: ${key}=none`, subject: key })
    return { ...wishes, limits: withLimit(wishes.limits, key, text) }
  }
  const wrong = (why: string) =>
    usageError(`${word}: ${why}`, { hint: `use whole MiB with a unit: ${key}=512M`, subject: key })
  if (at === -1) throw wrong(`${key} has no size`)
  if (wishes[key] !== undefined) throw wrong(`${key} is set twice`)
  const bytes = parseSize(text)
  if (bytes === undefined) throw wrong(`${JSON.stringify(text)} is not a size`)
  if (bytes % MIB_BYTES !== 0) throw wrong("not a whole number of MiB")
  return { ...wishes, [key]: bytes / MIB_BYTES }
}

function isLimit(key: string): key is LimitKey {
  return LIMIT_KEYS.some((each) => each === key)
}

function keyOf(name: string, word: string): (typeof SIZES)[number] | LimitKey {
  const key = KEYS.find((each) => each === name)
  if (key !== undefined) return key
  const like = nearest(name, KEYS) ?? LIMIT_KEYS.find((each) => each === `limits.${name}`)
  const meant = like === undefined ? "" : `; did you mean ${like}?`
  throw usageError(`${word}: ${JSON.stringify(name)} cannot be set${meant}`, {
    hint: `what can be set: memory=SIZE, balloon=SIZE, ${LIMIT_KEYS.map((each) => `${each}=…`).join(", ")}`,
    subject: name,
  })
}

function shown(limits: LimitWishes): SetResult["limits"] {
  if (Object.keys(limits).length === 0) return null
  const { memory, ...rest } = limits
  return { ...(memory === undefined ? {} : { memoryBytes: memory }), ...rest }
}
