import { statSync } from "node:fs"
import type { Exit } from "banger"
import { hasFlag, hasParameter } from "../base/linux/commandLine.ts"
import { Failure } from "../base/terms/failure.ts"
import type { Spec } from "../inputs/schema/vm.ts"
import { tailOf } from "../store/logs/growing.ts"
import { isRestore } from "../store/state/restores.ts"
import type { Session } from "../vm/session.ts"

/** What is told of how a VM should have ended. */
type Wanted = Pick<Spec, "ends" | "bootArgs" | "memory">

/** A console that is to say something says it in fewer bytes. */
const WORD_MAX_BYTES = 4096

/**
 * Why an end that looks well is not the one that the plugin wants; undefined when it is. A guest that resets with an empty console,
 * which it was told to print on, did not get as far as its kernel's first words: that is a reset of the machine, and no work done. One
 * that was told to be quiet, or goes on from a snapshot, may have nothing to say.
 */
export function unwantedEnd(
  exit: Exit,
  { ends, bootArgs, memory }: Wanted,
  { db, layout }: Pick<Session, "db" | "layout">,
): Failure | undefined {
  if (exit.requested) return undefined
  const failed = (message: string, hint: string) => new Failure("VM_FAILED", message, { hint, subject: layout.id })
  const want = { reset: "guest reset", poweroff: "guest powered off" } as const
  if (ends !== "any" && exit.reason !== want[ends])
    return failed(`the VM ended by "${exit.reason}", and not as ends: "${ends}" has it`, `banger logs ${layout.id}`)
  if (ends !== "any" || exit.reason !== "guest reset") return undefined
  if (!hasParameter(bootArgs, "console") || hasFlag(bootArgs, "quiet") || hasWords(layout.consoleLog)) return undefined
  if (isRestore(db, layout.id)) return undefined
  return failed(
    "the guest reset before it said a word",
    `it may have too little memory (${memory}M), or a kernel for another machine; where a silent end is well: ends: "reset"`,
  )
}

// --- internal ---

function hasWords(console: string): boolean {
  try {
    // Where its beginning was given back to the disk, there was one.
    if (statSync(console).size > WORD_MAX_BYTES) return true
  } catch {
    return true
  }
  return tailOf(console, WORD_MAX_BYTES).trim() !== ""
}
