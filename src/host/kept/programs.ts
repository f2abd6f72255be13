import { type RanProgram, runProgram } from "../../base/linux/runProgram.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { shownText } from "../../base/terms/printable.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import { shellWords } from "../../base/terms/shell.ts"
import { whyUntrusted } from "../../store/files/programs.ts"
import type { KeptThing } from "../../store/kept/thing.ts"

/** A program and its words. */
export type Argv = Extract<KeptThing, { kind: "command" }>["still"]

/** How long what only looks has, and what gives something back, in milliseconds. */
export const LOOK_MAX_MS = 10_000
export const RELEASE_MAX_MS = 60_000

/** Nothing of the caller's: what a program does then depends on its words alone. */
const ENVIRONMENT = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C", LVM_SUPPRESS_FD_WARNINGS: "1" }

/** Runs a program of a journal, bounded in time and output. Root runs none that others could have put there: UNTRUSTED. */
export function runKept(argv: Argv, limitMs: number): RanProgram {
  const [program = ""] = argv
  const why = process.geteuid?.() === 0 ? whyUntrusted(program) : undefined
  if (why !== undefined) throw new Failure("UNTRUSTED", `${program} is not run: ${why}`, { subject: program })
  return runProgram(argv, { limitMs, env: ENVIRONMENT })
}

/** How a program ended that did not do what it should have, in one line. Pure. */
export function howEnded(argv: Argv, { exit, late, output }: RanProgram, limitMs: number): string {
  const end = late ? `did not end in ${formatDuration(limitMs)}` : exit === null ? "was killed" : `ended with ${exit}`
  const said = shownText(output.slice(0, SAID_MAX_COUNT)).replaceAll("\n", "; ")
  return `${shownText(shellWords(argv))} ${end}${said === "" ? "" : `: ${said}`}`
}

/** What `still` tells. A program that cannot be run tells nothing. */
export function askStill(still: Argv): { is: "same" } | { is: "gone" } | { is: "unknown"; why: string } {
  try {
    const ran = runKept(still, LOOK_MAX_MS)
    if (ran.exit === 0) return { is: "same" }
    return ran.exit === 1 ? { is: "gone" } : { is: "unknown", why: howEnded(still, ran, LOOK_MAX_MS) }
  } catch (error) {
    return { is: "unknown", why: messageOf(error) }
  }
}

// --- internal ---

const SAID_MAX_COUNT = 400
