import { usageError } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"
import { formatSize, parseSize } from "../../base/terms/quantity.ts"
import { openState } from "../../store/state/open.ts"
import { setVm, type Wishes } from "../../supervisor/changes/setVm.ts"
import type { SetResult } from "../show/documents.ts"
import { command, vmArg } from "../terminal/command.ts"

export default command({
  meta: { name: "set", description: "Change the memory or the balloon of a running VM (Firecracker)" },
  args: {
    vm: vmArg,
    what: { type: "positional", required: true, description: "memory=SIZE or balloon=SIZE: memory=1G, balloon=64M" },
  },
  takesMany: true,
  async run({ vm, what }, { more, output }) {
    const wishes = wishesOf([what, ...more])
    using state = openState()
    const { id, name } = await setVm(state, vm, wishes)
    const words = Object.entries(wishes).map(([key, mebibytes]) => `${key} ${formatSize(mebibytes * MIB_BYTES)}`)
    output.log.info(`${name} (${id}) is asked for: ${words.join(", ")}`)
    output.show(
      { id, name, memoryMiB: wishes.memory ?? null, balloonMiB: wishes.balloon ?? null } satisfies SetResult,
      "",
    )
    return undefined
  },
})

// --- internal ---

const MIB_BYTES = 1024 * 1024

const KEYS = ["memory", "balloon"] as const

/** What the words ask for. Throws USAGE, which names the first word that is wrong. */
function wishesOf(words: readonly string[]): Wishes {
  const wishes: { memory?: number; balloon?: number } = {}
  for (const word of words) {
    const at = word.indexOf("=")
    const key = keyOf(at === -1 ? word : word.slice(0, at), word)
    const wrong = (why: string) =>
      usageError(`${word}: ${why}`, { hint: `use whole MiB with a unit: ${key}=512M`, subject: key })
    if (at === -1) throw wrong(`${key} has no size`)
    if (wishes[key] !== undefined) throw wrong(`${key} is set twice`)
    const size = word.slice(at + 1)
    const bytes = parseSize(size)
    if (bytes === undefined) throw wrong(`${JSON.stringify(size)} is not a size`)
    if (bytes % MIB_BYTES !== 0) throw wrong("not a whole number of MiB")
    wishes[key] = bytes / MIB_BYTES
  }
  return wishes
}

function keyOf(name: string, word: string): (typeof KEYS)[number] {
  const key = KEYS.find((each) => each === name)
  if (key !== undefined) return key
  const like = nearest(name, KEYS)
  const meant = like === undefined ? "" : `; did you mean ${like}?`
  throw usageError(`${word}: ${JSON.stringify(name)} cannot be set${meant}`, {
    hint: `what can be set: ${KEYS.map((each) => `${each}=SIZE`).join(", ")}`,
    subject: name,
  })
}
